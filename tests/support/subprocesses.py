"""How long a test waits for a subprocess."""

HUNG = 600      # seconds after which one counts as hung: far more than any takes, on the slowest and busiest machine
