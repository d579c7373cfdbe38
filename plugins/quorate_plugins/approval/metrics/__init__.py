"""Metrics of approvals: how many wait and for how long, how fast people decide, what is escalated, late and refused.

`tallies` counts what happened, event by event of the audit chain; `gauges` says what is so now; `histograms` has how
long things took; `deliveries` what became of notifications; `recent` spares the tally what the server knows already;
`metering` keeps all of it in the record of an artifact that a dashboard opens.
"""
