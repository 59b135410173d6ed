"""download.py SOURCE DATA: the list as it is."""

import shutil
import sys


def download(source: str, data: str) -> None:
    shutil.copy(source, data)


if __name__ == "__main__":
    download(*sys.argv[1:])
