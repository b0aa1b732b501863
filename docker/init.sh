#!/usr/bin/env bash
# Brings everything to the state that this version of the image expects, and ends. Doing it again is harmless.
set -euo pipefail
cd "$(dirname "$0")/.."

airflow db migrate
python -m scripts.migrate
python scripts/apply_airflow_settings.py
python docker/write_login.py
