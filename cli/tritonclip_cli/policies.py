"""`policy check`, and what else is done with policies before they decide."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tritonclip_cli import output
from tritonclip_cli.options import Connection, Json
from tritonclip_cli.policy_output import print_findings

PolicyFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="The policy, a YAML file.")
]


def check(
    policy: PolicyFile,
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no server; its words alone are checked.")
    ] = False,
    connection: Connection,
    json: Json = False,
) -> None:
    """Find what is wrong with a policy, in its words and with the model.

    Contradictions, prompts that the model cannot tell apart or read to their ends, thresholds that
    are not for it. The exit status is 1 where the policy cannot do what it says.
    """
    from tritonclip_search.policy import load
    from tritonclip_search.policy.checking import check, check_with_model

    loaded = load(policy)
    found = check(loaded)
    if not offline:
        with connection.client() as client:
            found += check_with_model(loaded, client)
    if json:
        output.print_json([asdict(finding) for finding in found])
    else:
        print_findings(loaded, found, with_model=not offline)
    if any(finding.is_error for finding in found):
        raise typer.Exit(1)
