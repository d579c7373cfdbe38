"""The JavaScript originals that the tests compare with, and how Python talks to them."""
