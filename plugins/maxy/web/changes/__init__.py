"""What every route that changes something has in common: permission, forgery protection, owner, audit, repeats.

A family's router says it once per route::

    router = APIRouter(prefix="/api/jobs", route_class=ChangeRoute)

    @router.post("/{job}/cancel", dependencies=[changing("jobs.cancel"), owned_by(owner_of_job)])
    async def cancel(job: int, change: CurrentChange) -> Job:
        await change.connection.execute(...)
        change.describe(target=f"job {job}", reason="...")

In this order, and nothing is written before the last of them has passed:

1. the login may see Airflow's plugins, as for reading (401, 403);
2. the request comes from this site's own pages, or from no browser (:mod:`.origin`, 403);
3. a login by cookie brings the CSRF token; a bearer token needs none (:mod:`.csrf`, 403);
4. the user's role has the permission (:mod:`.permissions`, 403);
5. an ``Idempotency-Key`` that was answered gets that answer again; one that is being worked on is 409, one that came
   with another request 422 (:mod:`.idempotency`);
6. the target is the user's own, or the user is an administrator (:mod:`.owner`, 403).

The handler then works in a transaction of the package's database. The audit record and the answer that a repeat will
get are written in the same one: all of it is there afterwards, or nothing. A route that has decided nothing fails a
test (:mod:`.decisions`).

A change holds one of the server process's eight connections until it has answered, and the next one waits 5 s for it at
most: work that takes long is handed on (a row in a table, a run of a DAG), not done in the request. What a handler does
outside of PostgreSQL is not undone with the transaction, so it has to be such that it may be done again.
"""
