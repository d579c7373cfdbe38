"""The engines that ship with Quorate; each sees the server through its hooks only."""
