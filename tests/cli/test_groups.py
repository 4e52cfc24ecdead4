"""Options that belong together, as one object to the command and one by one to its user."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from tritonclip_cli.groups import Group, flat

Loud = Annotated[bool, typer.Option("--loud", help="Shout.")]


@dataclass(frozen=True)
class Greeting(Group, panel="What is said"):
    word: Annotated[str, typer.Option(help="Said first.")] = "hello"
    to: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None
    loud: Loud = False


@pytest.fixture
def app() -> typer.Typer:
    def greet(
        times: Annotated[int, typer.Argument()], greeting: Greeting, fast: bool = False
    ) -> None:
        """Greet people."""
        print(times, greeting, fast)

    made = typer.Typer()
    made.command()(flat(greet))
    made.callback()(lambda: None)  # names the command even where it is the only one
    return made


def test_a_command_gets_its_options_as_one_object(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["greet", "2", "--to", "Ann", "--to", "Bob", "--loud", "--fast"])

    assert done.output == f"2 {Greeting('hello', ['Ann', 'Bob'], loud=True)} True\n"


def test_help_shows_each_option_in_the_panel_of_its_group(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["greet", "--help"]).output

    assert "Greet people." in shown
    options, said = shown.split("What is said")
    assert "--fast" in options
    assert "--word" in said
    assert "[default: hello]" in said
    assert "--loud" in said


def test_an_option_that_commands_share_is_in_the_panel_of_its_group_only(app: typer.Typer) -> None:
    def shout(loud: Loud = False) -> None:
        """Take the option by itself."""

    app.command()(flat(shout))

    shown = CliRunner().invoke(app, ["shout", "--help"]).output

    assert "--loud" in shown
    assert "What is said" not in shown
