"""The API, version 1: what the page uses, and anybody else with an account may."""
