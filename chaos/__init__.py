"""Fault tests: programs that inject faults into the stages and the service, and check that no data are lost."""
