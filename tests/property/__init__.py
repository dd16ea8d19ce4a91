"""Runs under any order of actions, against a model of what they should be."""
