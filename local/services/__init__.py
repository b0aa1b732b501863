"""The stack's parts, one module a service: how each is prepared, started and asked whether it is ready."""
