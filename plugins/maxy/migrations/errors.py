"""What ends a migration."""


class MigrateError(Exception):
    """The migrations could not be applied; the message names the cause and the place."""
