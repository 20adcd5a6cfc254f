"""What follows from a verdict: the alarm book and escalation (`book`, pure), deliveries (`notify`)."""
