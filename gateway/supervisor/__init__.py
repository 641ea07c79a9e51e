"""Processes, sockets, heartbeats: `gateway run` is this.

The supervisor owns the lock on the state folder (`lock`) and the listening sockets (`sockets`), starts the roles of
this host as child processes that die with it, watches that they live, starts again what dies, kills what hangs, and
stops them in order (`loop`, `child`). It moves no image, imports only what it needs, and sleeps.

Children speak to it through `gateway.control`. What it does to the ledger and the spool when a child dies is handed in
as `Hooks` by `gateway.app`.
"""

from gateway.supervisor.child import ChildSpec
from gateway.supervisor.lock import StateLock
from gateway.supervisor.loop import Hooks, Supervisor
from gateway.supervisor.sockets import ActivatedSocket, ListenerAddress, activated_sockets, bind_listeners

__all__ = [
    "ActivatedSocket",
    "ChildSpec",
    "Hooks",
    "ListenerAddress",
    "StateLock",
    "Supervisor",
    "activated_sockets",
    "bind_listeners",
]
