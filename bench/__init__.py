"""Measurements of jobclaim, and the light stand-in for AWS that they run on."""
