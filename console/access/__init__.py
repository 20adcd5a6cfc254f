"""Who may sign in, and what each role may see and do."""
