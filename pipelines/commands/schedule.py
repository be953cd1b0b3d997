"""``millrace schedule``: runs the stages of a product on a schedule."""

import logging
from pathlib import Path
from typing import Annotated, Final

import typer

from millrace.config import Product, load_product
from millrace.errors import ConfigError
from millrace.logs import add_context, configure_logging
from millrace.storage import Store
from pipelines.commands.schedule_tables import list_entries, show_ticks
from pipelines.jobs.exits import exit_code, guard, report_error
from pipelines.jobs.stages import print_result
from pipelines.schedule.embedded import STAGE, Embedded
from pipelines.schedule.log import Log
from pipelines.schedule.runner import Runner, RunnerContext
from pipelines.schedule.submit import SparkSubmit

LOGS: Final = Path("millrace-logs")
app = typer.Typer(help="Run the stages of a product on a schedule.", no_args_is_help=True)
ProductFile = Annotated[Path, typer.Argument(help="The product file, such as conf/pipelines/flights.yaml.")]
Profile = Annotated[
    str,
    typer.Option(help="Profile: a path, or a name in conf/profiles (working folder) or ../profiles (of the product)."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as schedule.daily.deadline_s=600."),
]
logger = logging.getLogger(__name__)


@app.command()
def run(
    product: ProductFile,
    profile: Profile = "local",
    settings: Settings = None,
    logs: Annotated[Path, typer.Option(help="Folder for the output of the runs.")] = LOGS,
    py_files: Annotated[Path | None, typer.Option(help="Archive with the code, for executors that lack it.")] = None,
) -> None:
    """Run the scheduler until a signal ends it. It starts what is due with spark-submit; its state is in the store."""
    configure_logging()
    add_context(stage=STAGE)
    name = ""
    try:
        loaded = _load(product, profile, settings)
        name = loaded.config.product
        commands = SparkSubmit(loaded, product.absolute(), profile, settings or [], py_files)
        commands.archive()
        store = Store(loaded.config.store.root)
        context = RunnerContext(commands, logs)
        runners = [Runner(e, entry, Log(store, name, e), context) for e, entry in loaded.config.schedule.items()]
        logger.info("watching %s; the output of the runs is in %s", ", ".join(loaded.config.schedule), logs)
        Embedded(runners).run()
    except (Exception, KeyboardInterrupt) as error:
        report_error(error)
        print_result({"stage": STAGE, "product": name, "outcome": "ended", "reason": str(error)})
        raise typer.Exit(exit_code(error)) from None


@app.command("list")
def list_(product: ProductFile, profile: Profile = "local", settings: Settings = None) -> None:
    """List every entry: its cron expression, time zone, stages and next time."""
    guard(lambda: list_entries(_load(product, profile, settings)))


@app.command("next")
def next_(
    product: ProductFile,
    profile: Profile = "local",
    settings: Settings = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Number of past and of future ticks of each entry.")] = 5,
) -> None:
    """Show the next ticks, and the outcomes of the last ones."""

    def shown() -> None:
        loaded = _load(product, profile, settings)
        show_ticks(loaded, Store(loaded.config.store.root), count)

    guard(shown)


def _load(product: Path, profile: str, settings: list[str] | None) -> Product:
    loaded = load_product(product, profile=profile, settings=settings)
    if not loaded.config.schedule:
        raise ConfigError(f"{product}: there is no schedule in it", hint="see docs/schedules.md for an example")
    return loaded
