"""The cmdlets that the scripts use, for powershell.py."""

import hashlib
import json
import os
import sys
import time

from ps_values import Failure, Native, Secure, Table, Unsupported, as_list, as_text, as_value, from_json, is_true


class Cmdlets:
    """Each takes what is piped to it, its named and its positional arguments, and refuses those that it does not know."""

    @staticmethod
    def only(named, positional, *names):
        """The values of a cmdlet's parameters, which may also be given by position."""
        rest = list(positional)
        values = [named.pop(name) if name in named else rest.pop(0) if rest else None for name in names]
        if named or rest:
            raise Unsupported(f"arguments {list(named)} {rest}")
        return values

    def run_foreach_object(self, piped, named, positional):
        block, = self.only(named, positional, "process")
        output = []
        for each in as_list(piped):
            self.set("_", each)
            output += self.run_block(block)
        return output

    def run_where_object(self, piped, named, positional):
        block, = self.only(named, positional, "filterscript")
        output = []
        for each in as_list(piped):
            self.set("_", each)
            if is_true(as_value(self.run_block(block))):
                output.append(each)
        return output

    def run_out_null(self, piped, named, positional):
        self.only(named, positional)
        return []

    def run_convertfrom_json(self, piped, named, positional):
        self.only(named, positional)
        text = "\n".join(as_text(each) for each in as_list(piped))
        return from_json(json.loads(text)) if text.strip() else []

    def run_get_content(self, piped, named, positional):
        path, raw = self.only(named, positional, "path", "raw")
        if not raw:
            raise Unsupported("Get-Content without -Raw")
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()

    def run_set_content(self, piped, named, positional):
        if self.get("whatifpreference"):
            raise Unsupported("Set-Content under -WhatIf")
        path, value, bare = self.only(named, positional, "literalpath", "value", "nonewline")
        lines = [as_text(each) for each in as_list(value)]
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write("".join(lines) if bare else "".join(line + "\n" for line in lines))
        return []

    def run_new_item(self, piped, named, positional):
        kind, path = self.only(named, positional, "itemtype", "path")
        if kind != "File":
            raise Unsupported(f"New-Item of {kind}")
        try:
            open(path, "x", encoding="utf-8").close()
        except OSError as error:
            raise Failure(f"The file '{path}' cannot be made: {error.strerror}.") from None
        return Native(fullname=os.path.abspath(path))

    def run_remove_item(self, piped, named, positional):
        path, = self.only(named, positional, "literalpath")
        os.remove(path)
        return []

    def run_test_path(self, piped, named, positional):
        path, kind = self.only(named, positional, "literalpath", "pathtype")
        return {None: os.path.exists, "Leaf": os.path.isfile}[kind](path)

    def run_get_filehash(self, piped, named, positional):
        path, algorithm = self.only(named, positional, "literalpath", "algorithm")
        with open(path, "rb") as file:
            return Table([("Hash", hashlib.new(algorithm, file.read()).hexdigest().upper())])

    def run_get_variable(self, piped, named, positional):
        name, _ = self.only(named, positional, "name", "valueonly")
        return self.get(name)

    def run_convertto_securestring(self, piped, named, positional):
        text, _, _ = self.only(named, positional, "string", "asplaintext", "force")
        return Secure(text)

    def run_convertfrom_securestring(self, piped, named, positional):
        secure, _ = self.only(named, positional, "securestring", "asplaintext")
        return secure.plain

    def run_start_sleep(self, piped, named, positional):
        seconds, = self.only(named, positional, "seconds")
        time.sleep(min(seconds, float(os.environ.get("LONGEST_SLEEP", "inf"))))
        return []

    def run_write_output(self, piped, named, positional):
        value, = self.only(named, positional, "inputobject")
        return as_list(value)

    def run_write_verbose(self, piped, named, positional):
        message, = self.only(named, positional, "message")
        if self.get("verbosepreference") == "Continue":
            print(f"VERBOSE: {as_text(message)}", file=sys.stderr)
        return []

    def run_write_warning(self, piped, named, positional):
        message, = self.only(named, positional, "message")
        print(f"WARNING: {as_text(message)}", file=sys.stderr)
        return []

    def run_write_progress(self, piped, named, positional):
        self.only(named, positional, "activity", "status", "completed")
        return []
