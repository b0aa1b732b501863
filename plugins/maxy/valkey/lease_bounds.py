"""How long a lease may last. Without Valkey's client, so that settings can be checked where it is not imported."""

#: No holder's lease lasts longer.
LONGEST_LEASE_SECONDS = 3600
