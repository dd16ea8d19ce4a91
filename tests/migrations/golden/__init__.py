"""Stores as earlier versions wrote them, kept from then on."""
