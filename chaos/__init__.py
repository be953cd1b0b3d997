"""Programs that break what is under the stages, or under the service, and check that nothing is lost."""
