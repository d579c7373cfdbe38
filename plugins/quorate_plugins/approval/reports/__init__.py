"""Compliance reports: what auditors ask of approvals, computed from the audit chain alone.

`queries` says what can be asked, `chronicle` adds the events of the chain up to requests, each report is a module
(`population`, `duties`, `access`, `automatic`, `lateness`, `dismissals`, `signatures`, `policy_history`,
`data_subjects`, `integrity`), `catalogue` names them, `building` makes a document of one, and `rendering` writes it
as JSON, CSV or a page to print. All of it is pure: the same events and the same query are the same document, on the
server and with an export anywhere else. The command is in `reporting`, beside this package.
"""
