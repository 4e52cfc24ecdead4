"""Policies: written rules, what a picture has to do with them, and what follows.

    from tritonclip import Client
    from tritonclip_search.policy import decide, load, prepare

    with Client("127.0.0.1:8001") as client:
        policy = prepare(load("shop.yaml"), client)
        for decision in decide(policy, client.embed_images(["a.jpg", "b.jpg"])):
            print(decision.action.value, decision.rule, decision.probability)

Inside an event loop, embed `texts(policy)` and give their vectors to `prepared`.
"""

from tritonclip_search.policy.decisions import Decision, Decisions, Evidence, decide
from tritonclip_search.policy.file import load
from tritonclip_search.policy.prepared import PreparedPolicy, prepare, prepared, texts
from tritonclip_search.policy.rules import Action, Policy, Rule

__all__ = [
    "Action",
    "Decision",
    "Decisions",
    "Evidence",
    "Policy",
    "PreparedPolicy",
    "Rule",
    "decide",
    "load",
    "prepare",
    "prepared",
    "texts",
]
