# Airflow with this package, for docker-compose.yaml: the same image runs every Airflow service.
FROM apache/airflow:3.3.2-python3.12

# The environment becomes exactly the lock: what is missing is installed, what the base image has beyond it (several
# dozen providers nobody here uses) is removed, so that nothing runs which was not locked. `--no-build`: the base image
# has no compiler, and a wheel that is missing should say so.
ARG UV_VERSION=0.13.9
COPY docker/requirements.lock /tmp/requirements.lock
RUN pip install --no-cache-dir "uv==${UV_VERSION}" \
    && uv pip sync --python "$(command -v python)" --no-cache --no-build --compile-bytecode --require-hashes \
        /tmp/requirements.lock \
    && uv pip check --python "$(command -v python)" \
    && python -c "import airflow.providers.celery.executors.celery_executor, kombu.transport.redis, psycopg2, psycopg, asyncpg"

# Named volumes take over these folders' owner.
RUN mkdir -p /opt/airflow/auth /opt/airflow/logs

WORKDIR /opt/airflow
COPY --chown=airflow:root airflow_settings.yaml ./
COPY --chown=airflow:root docker/ docker/
COPY --chown=airflow:root include/ include/
COPY --chown=airflow:root scripts/ scripts/
COPY --chown=airflow:root plugins/ plugins/
COPY --chown=airflow:root dags/ dags/
