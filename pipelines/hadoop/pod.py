"""The entry point of the images with Java: runs Spark's driver or executor in a pod, and any other command as it is.

On Kubernetes, Spark starts its pods with the word ``driver`` or ``executor``. The rest comes from the environment.
"""

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from pipelines.hadoop.service import Env, java, spark_home, without_links

BACKEND: Final = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
PASSWD: Final = Path("/etc/passwd")
_JAVA_OPTION: Final = re.compile(r"SPARK_JAVA_OPT_(\d+)")
_EXECUTOR: Final = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}
"""Options of Spark's executor, and the variables that have their values."""


def command_of(words: list[str], env: Env) -> list[str]:
    """Return the program and arguments that a container runs.

    Args:
        words: The container's arguments.
        env: Its environment, which Spark filled if the first word is one of Spark's.
    """
    match words:
        case ["driver", *arguments]:
            submit = str(spark_home() / "bin" / "spark-submit")
            address = f"spark.driver.bindAddress={env['SPARK_DRIVER_BIND_ADDRESS']}"
            return [submit, "--conf", address, "--deploy-mode", "client", *arguments]
        case ["executor", *arguments]:
            options = [part for option, name in _EXECUTOR.items() for part in (option, env[name])]
            memory = env["SPARK_EXECUTOR_MEMORY"]
            heap = [f"-Xms{memory}", f"-Xmx{memory}"]
            return [java(), *_java_options(env), *heap, "-cp", _class_path(env), BACKEND, *options, *arguments]
    return words


def _java_options(env: Env) -> list[str]:
    found = {int(match[1]): value for name, value in env.items() if (match := _JAVA_OPTION.fullmatch(name))}
    return [found[number] for number in sorted(found)]


def _class_path(env: Env) -> str:
    own = env.get("SPARK_CONF_DIR") or str(spark_home() / "conf")
    added = (env.get(name) for name in ("SPARK_EXTRA_CLASSPATH", "SPARK_CLASSPATH"))
    parts = (own, env.get("HADOOP_CONF_DIR"), *added, str(spark_home() / "jars" / "*"), env.get("SPARK_DIST_CLASSPATH"))
    return os.pathsep.join(filter(None, parts))


def name_user(passwd: Path, home: Path) -> bool:
    """Add the user of this process to the passwd file if it has no name there, because Hadoop refuses such a user.

    OpenShift runs containers as a user that the image does not know, in group 0, which may write the file.

    Returns:
        Whether the user has a name now.
    """
    user = os.getuid()
    if any(line.split(":")[2:3] == [str(user)] for line in passwd.read_text().splitlines()):
        return True
    if not os.access(passwd, os.W_OK):
        return False
    with passwd.open("a") as file:
        file.write(f"millrace:x:{user}:{os.getgid()}::{home}:/usr/sbin/nologin\n")
    return True


def writable_folder(env: Env) -> Path:
    """Return the working folder if this process may write it, else one of Spark's, else a new one.

    Spark writes the files of ``--files`` into the working folder of drivers and executors.
    """
    folders = [Path.cwd(), *map(Path, filter(None, env.get("SPARK_LOCAL_DIRS", "").split(",")))]
    found = next((folder for folder in folders if os.access(folder, os.W_OK)), None)
    return found or Path(tempfile.mkdtemp(prefix="millrace-"))


def main() -> None:
    """Replace this process by the container's command."""
    env = without_links(os.environ)
    words = sys.argv[1:]
    if not words:
        sys.exit("usage: pod driver|executor|COMMAND [ARGUMENT ...]")
    home = env.get("HOME", "/")
    if not os.access(home, os.W_OK):
        home = env["HOME"] = str(writable_folder(env))
    name_user(PASSWD, Path(home))
    try:
        command = command_of(words, env)
        if words[0] in ("driver", "executor"):
            os.chdir(writable_folder(env))
        os.execvpe(command[0], command, env)  # noqa: S606 - without a shell on purpose
    except KeyError as error:
        sys.exit(f"{words[0]}: Spark sets {error.args[0]} in its pods; it is missing")
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main()
