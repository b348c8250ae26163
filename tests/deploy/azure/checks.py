"""Counts checks, and says what failed."""

import sys
import threading

lock = threading.Lock()
counts = {"passed": 0, "failed": 0, "skipped": 0}


def check(text, good, details=""):
    """Counts one check; `details` tell why where it failed."""
    with lock:
        counts["passed" if good else "failed"] += 1
        print(("ok      " if good else "FAILED  ") + text, flush=True)
        if not good and details:
            print("\n".join("        " + line for line in str(details).splitlines()[-40:]), flush=True)
    return good


def skip(reason, number=1):
    with lock:
        counts["skipped"] += number
        print(f"!! skipped: {reason}", flush=True)


def finish():
    """Ends the program with what was counted, for azure.sh to add up."""
    print("counted {passed} {failed} {skipped}".format(**counts), flush=True)
    sys.exit(counts["failed"] > 0)
