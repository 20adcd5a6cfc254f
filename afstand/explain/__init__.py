"""Why an alarm was given, told from what the site has stored."""
