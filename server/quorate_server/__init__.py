"""Rooms, sockets, access, HTTP and the command line of the collaboration server."""
