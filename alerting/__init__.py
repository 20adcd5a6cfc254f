"""What follows from a verdict: `book` (alarms, escalation; pure), `notify` (deliveries)."""
