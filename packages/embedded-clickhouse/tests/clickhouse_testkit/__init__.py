"""The helpers of the tests: clients, a server under test, generated input."""
