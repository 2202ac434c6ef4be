"""Tests of the device distribution."""
