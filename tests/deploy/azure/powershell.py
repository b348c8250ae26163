#!/usr/bin/env python3
"""Runs the PowerShell that the deployment's scripts are written in, where there is no PowerShell.

usage: powershell.py SCRIPT.ps1 [-Name value | -Switch | -Switch:$false | value]...

A reading of the language, and not the thing itself: of PowerShell 7.4 it knows the constructs, commands and .NET calls that
the scripts use, on Linux, and stops with `unsupported` at everything else, so that what it lets pass was understood. The
syntax comes from a PowerShell grammar. COVERAGE names a file that gets the place of each Invoke-Az that ran.
"""

import os
import re
import subprocess
import sys

import tree_sitter
import tree_sitter_pwsh

from ps_cmdlets import Cmdlets
from ps_dotnet import METHODS, STATIC
from ps_values import (
    NOTHING, Block, Failure, Native, Return, Secure, Table, Type, Unsupported, as_list, as_text, as_value, bad, convert, equal, is_true,
    regex, wildcard,
)

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_pwsh.language()))


class Function:
    """The parameters and the body of a function or a script."""

    def __init__(self, name, node):
        self.name = name
        self.body = node
        self.parameters = []  # (name, type, mandatory, position, default)
        self.attributes = {}
        blocks = [each for each in node.named_children if each.type == "param_block"]
        if not blocks:
            return
        for attribute in find(node if node.type == "script_block" else blocks[0], "attribute", "script_parameter"):
            self.read_attribute(attribute)
        for parameter in find(blocks[0], "script_parameter"):
            self.read_parameter(parameter)
        # The grammar takes some parameters for a part of the default before them; such a script must be written otherwise.
        written = len(re.findall(r"(?m)^\s*(?:\[[^\n]*\]\s*)?\$\w+\s*(?:=|,|$)", text_of(blocks[0])))
        if written != len(self.parameters):
            raise Unsupported(f"{name}: {written} parameters are written, and {len(self.parameters)} were read")

    def read_attribute(self, attribute):
        if text_of(attribute).startswith("[CmdletBinding"):
            for name, value in re.findall(r"(\w+)(?:\s*=\s*'(\w+)')?", text_of(attribute)[15:]):
                self.attributes[name.lower()] = value or True

    def read_parameter(self, node):
        kind, mandatory, position, default = None, False, None, None
        for part in node.named_children:
            if part.type in ("attribute", "attribute_list"):
                for word in find(part, "attribute") or [part]:
                    text = text_of(word)
                    if re.fullmatch(r"\[\w+(\[\])?\]", text):  # the grammar takes the type for an attribute
                        kind = text[1:-1].lower()
                        continue
                    if not re.fullmatch(r"\[Parameter\((Mandatory|Position = \d+)\)\]", text):
                        raise Unsupported(f"attribute {text}")
                    mandatory |= "Mandatory" in text
                    place = re.search(r"Position = (\d+)", text)
                    position = int(place[1]) if place else position
                for word in find(part, "type_literal"):
                    kind = text_of(word)[1:-1].lower()
            elif part.type == "type_literal":
                kind = text_of(part)[1:-1].lower()
            elif part.type == "variable":
                name = text_of(part)[1:]
            elif part.type == "script_parameter_default":
                default = part.named_children[-1]
            elif part.type != "comment":
                raise Unsupported(f"{part.type} in a parameter")
        self.parameters.append((name, kind, mandatory, position, default))

    @property
    def is_advanced(self):
        return bool(self.attributes) or any(mandatory for _, _, mandatory, _, _ in self.parameters)


def text_of(node):
    return node.text.decode()


def find(node, kind, without=None):
    """The outermost nodes of that kind in the node, leaving out what is in nodes of kind `without`."""
    found = []
    for child in node.children:
        if child.type == kind:
            found.append(child)
        elif child.type != without:
            found += find(child, kind, without)
    return found


def every(node, kind):
    for child in node.children:
        if child.type == kind:
            yield child
        yield from every(child, kind)


class Shell(Cmdlets):
    """Runs scripts. Variables are looked up through the scopes of the callers, as PowerShell does."""

    def __init__(self):
        self.scopes = [{
            "null": None, "true": True, "false": False, "home": os.environ.get("HOME", ""), "iswindows": False,
            "verbosepreference": "SilentlyContinue", "whatifpreference": False, "confirmpreference": "High",
            "erroractionpreference": "Continue", "psnativecommanduseerroractionpreference": False, "lastexitcode": 0,
        }]
        self.functions = {}
        self.roots = []  # kept, for the nodes are known by their addresses
        self.places = {}

    # Variables.

    def get(self, name):
        name = name.lower()
        if name.startswith("env:"):
            return os.environ.get(name[4:].upper())
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        # PowerShell would take it for $null; here it is a slip of the pen.
        raise Unsupported(f"${name}, which nothing has set")

    def set(self, name, value):
        if name.lower() in ("null", "env") or ":" in name:
            if name.lower() != "null":
                raise Unsupported(f"assignment to ${name}")
            return
        self.scopes[-1][name.lower()] = value

    # Scripts, functions and blocks.

    def load(self, path):
        with open(path, "rb") as file:
            root = PARSER.parse(file.read()).root_node
        if root.has_error:
            raise Failure(f"{path}: syntax error")
        self.places.update({command.id: f"{os.path.basename(path)}:{command.start_point[0] + 1}" for command in every(root, "command")})
        self.roots.append(root)
        return root

    def run_script(self, path, named, positional):
        """`& path`: in a scope of its own."""
        root = self.load(path)
        function = Function(os.path.basename(path), root)
        return self.call(function, named, positional, {"psscriptroot": os.path.dirname(os.path.abspath(path))})

    def call(self, function, named, positional, variables=None):
        scope = dict(variables or {})
        self.scopes.append(scope)
        try:
            self.bind(function, named, positional, scope)
            return self.block(function.body)
        except Return as result:
            return result.values
        finally:
            self.scopes.pop()

    def bind(self, function, named, positional, scope):
        if not function.parameters and not function.is_advanced:
            if named:
                raise Unsupported(f"{function.name}: named arguments without parameters")
            scope["args"] = list(positional)
            return
        given = {}
        known = {name.lower(): kind for name, kind, *_ in function.parameters}
        for name, value in named.items():
            if name in known:
                given[name] = value
            elif name == "verbose" and function.is_advanced:
                scope["verbosepreference"] = "Continue"
            elif name == "whatif" and "supportsshouldprocess" in function.attributes:
                scope["whatifpreference"] = is_true(value)
            elif name == "confirm" and "supportsshouldprocess" in function.attributes:
                scope["confirmpreference"] = "Low" if is_true(value) else "None"
            else:
                raise Failure(f"A parameter cannot be found that matches parameter name '{name}'.")
        places = [each for each in function.parameters if each[3] is not None] or \
            [each for each in function.parameters if each[1] != "switch"]
        free = [name.lower() for name, *_ in places if name.lower() not in given]
        for value in positional:
            if not free:
                raise Failure(f"A positional parameter cannot be found that accepts argument '{as_text(value)}'.")
            given[free.pop(0)] = value
        for name, kind, mandatory, _, default in function.parameters:
            value = given.get(name.lower())
            if name.lower() in given:
                value = convert(kind, value)
                if mandatory and (value in (None, "", []) or (isinstance(value, list) and "" in value)):
                    raise Failure(f"Cannot bind argument to parameter '{name}' because it is null or empty.")
            elif mandatory:
                raise Failure(f"Cannot process command because of one or more missing mandatory parameters: {name}.")
            else:
                value = convert(kind, self.value(default) if default is not None else None)
            scope[name.lower()] = value
        if function.is_advanced:
            scope["pscmdlet"] = Native(shouldprocess=lambda *words: self.should_process(function, *words))

    def should_process(self, function, target, action):
        if "supportsshouldprocess" not in function.attributes:
            raise Unsupported(f"ShouldProcess in {function.name}, which does not declare it")
        if self.get("whatifpreference"):
            print(f'What if: Performing the operation "{action}" on target "{target}".')
            return False
        ranks = ["None", "Low", "Medium", "High"]
        impact = function.attributes.get("confirmimpact", "Medium")
        preference = self.get("confirmpreference")
        if preference != "None" and ranks.index(impact) >= ranks.index(preference):
            raise Failure("PowerShell is in NonInteractive mode. Read and Prompt functionality is not available.")
        return True

    def block(self, node):
        """Runs the statements in the node and collects what they put out."""
        output = []
        for child in node.named_children:
            if child.type in ("statement_list", "script_block", "script_block_body", "named_block_list"):
                output += self.block(child)
            elif child.type not in ("comment", "param_block", "attribute_list", "attribute", "empty_statement"):
                try:
                    output += as_list(self.evaluate(child))
                except Return as result:
                    raise Return(output + result.values) from None
        return output

    def run_block(self, block):
        """A script block in the current scope, as ForEach-Object runs it."""
        return self.block(block.node)

    # Expressions and statements, by the type of their node.

    def evaluate(self, node):
        node = self.innermost(node)
        handler = getattr(self, "on_" + node.type, None)
        if handler:
            return handler(node)
        raise Unsupported(f"line {node.start_point[0] + 1}: {node.type}: {text_of(node)[:80]}")

    def innermost(self, node):
        """The grammar wraps each expression in a node of every kind that it could have been part of."""
        while node.child_count == 1 and (
                node.type.endswith(("_expression", "_expression_list", "_chain", "_unary_operator")) or not hasattr(self, "on_" + node.type)):
            node = node.children[0]
        return node

    def value(self, node):
        """What the node gives where one value is wanted: of a command's output, nothing is $null and one thing is itself."""
        node = self.innermost(node)
        value = self.evaluate(node)
        if node.type in ("command", "command_name", "pipeline_chain", "foreach_statement", "if_statement"):
            return as_value(as_list(value))
        return None if value is NOTHING else value

    def on_variable(self, node):
        return self.get(text_of(node)[1:].strip("{}"))

    on_braced_variable = on_variable

    def on_verbatim_string_characters(self, node):
        return text_of(node)[1:-1].replace("''", "'")

    def on_decimal_integer_literal(self, node):
        return int(text_of(node))

    def on_generic_token(self, node):
        return text_of(node)

    def on_command_parameter(self, node):
        return text_of(node)

    def on_expandable_string_literal(self, node):
        source, start = node.text, node.start_byte
        pieces, at = [], 1
        for child in node.children:
            if child.type in ("variable", "braced_variable", "sub_expression"):
                pieces.append(self.unescape(source[at:child.start_byte - start].decode()))
                pieces.append(as_text(self.value(child)))
                at = child.end_byte - start
        return "".join(pieces) + self.unescape(source[at:-1].decode())

    @staticmethod
    def unescape(text):
        def character(match):
            return {"n": "\n", "r": "\r", "`": "`", "$": "$", '"': '"'}.get(match[1]) or bad(f"escape `{match[1]}")

        if re.search(r"(?<!`)\$[\w{(]", text):
            raise Unsupported(f"text {text}")
        return re.sub(r"`(.)", character, text).replace('""', '"')

    def on_sub_expression(self, node):
        return as_value(self.block(node))

    def on_parenthesized_expression(self, node):
        return self.value(node.named_children[0])

    def on_array_expression(self, node):
        return self.block(node)

    def on_array_literal_expression(self, node):
        return [self.value(child) for child in node.named_children]

    on_argument_expression_list = on_array_literal_expression

    def on_script_block_expression(self, node):
        return Block(node)

    def on_hash_literal_expression(self, node):
        table = Table()
        for entry in find(node, "hash_entry"):
            key, *_, value = entry.named_children
            table[text_of(key).strip("'\"")] = self.value(value)
        return table

    def on_cast_expression(self, node):
        kind, value = node.named_children
        kind = text_of(kind)[1:-1].lower()
        if kind == "io.unixfilemode":
            return self.value(value)
        if kind == "ordered":
            return self.value(value)
        return convert(kind, self.value(value))

    def on_type_literal(self, node):
        return Type(text_of(node)[1:-1].lower())

    def on_ternary_expression(self, node):
        condition, yes, no = node.named_children
        return self.value(yes if is_true(self.value(condition)) else no)

    def on_null_coalesce_expression(self, node):
        left = self.value(node.named_children[0])
        return left if left is not None else self.value(node.named_children[1])

    def on_logical_expression(self, node):
        left, operator, right = node.children
        left = is_true(self.value(left))
        operator = text_of(operator).lower()
        if operator == "-and":
            return left and is_true(self.value(right))
        if operator == "-or":
            return left or is_true(self.value(right))
        raise Unsupported(operator)

    def on_expression_with_unary_operator(self, node):
        operator, operand = node.children
        if text_of(operator).lower() in ("-not", "!"):
            return not is_true(self.value(operand))
        if text_of(operator) == "-":
            return -self.value(operand)
        raise Unsupported(text_of(operator))

    def on_additive_expression(self, node):
        left, operator, right = self.value(node.children[0]), text_of(node.children[1]), self.value(node.children[2])
        if operator != "+":
            raise Unsupported(operator)
        if isinstance(left, str):
            return left + as_text(right)
        if isinstance(left, int) and isinstance(right, int):
            return left + right
        raise Unsupported(f"{left!r} + {right!r}")

    on_additive_argument_expression = on_additive_expression

    def on_range_expression(self, node):
        first, last = (self.value(each) for each in node.named_children)
        return list(range(first, last + 1))

    def on_comparison_expression(self, node):
        left, operator, right = node.children
        left, operator = self.value(left), text_of(operator).lower()
        if operator == "-is":
            return self.is_a(left, self.value(right))
        right = self.value(right)
        if operator in ("-in", "-notin"):
            return any(equal(each, left) for each in as_list(right)) == (operator == "-in")
        if operator == "-join":
            return as_text(right).join(as_text(each) for each in as_list(left))
        if operator == "-replace":
            pattern, replacement = right if isinstance(right, list) else (right, "")
            if "$" in replacement:
                raise Unsupported(f"-replace with {replacement}")
            return re.sub(regex(pattern), lambda _: replacement, as_text(left), flags=re.I)
        if operator == "-split":
            return [piece for each in as_list(left) for piece in re.split(regex(right), as_text(each), flags=re.I)]
        if isinstance(left, list):
            return [each for each in left if self.compare(each, operator, right)]
        return self.compare(left, operator, right)

    @staticmethod
    def is_a(value, kind):
        if kind == "securestring":
            return isinstance(value, Secure)
        raise Unsupported(f"-is [{kind}]")

    def compare(self, left, operator, right):
        if operator == "-eq":
            return equal(left, right)
        if operator in ("-ne", "-cne"):
            return not equal(left, right, exact=operator == "-cne")
        if operator in ("-lt", "-le", "-gt", "-ge") and isinstance(left, int):
            right = convert("int", right)
            return {"-lt": left < right, "-le": left <= right, "-gt": left > right, "-ge": left >= right}[operator]
        if operator in ("-like", "-notlike"):
            return bool(re.match(wildcard(right), as_text(left), re.I | re.S)) == (operator == "-like")
        if operator in ("-match", "-notmatch", "-cmatch", "-cnotmatch"):
            found = re.search(regex(right), as_text(left), 0 if operator.startswith("-c") else re.I)
            if found:
                self.set("matches", [found[0]])
            return bool(found) != ("not" in operator)
        raise Unsupported(operator)

    def on_member_access(self, node):
        owner, access, member = node.children
        owner, name = self.value(owner), text_of(member).lower()
        if text_of(access) == "::":
            return STATIC.get(owner, {}).get(name) or bad(f"[{owner}]::{name}")
        return self.member(owner, name)

    def member(self, owner, name):
        if isinstance(owner, Table):
            if name in owner:
                return owner[name]
            return owner.keys() if name == "keys" else None
        if name in ("count", "length") and isinstance(owner, (list, str)):
            return len(owner)
        if isinstance(owner, list):
            return as_value([value for each in owner for value in as_list(self.member(each, name))])
        if owner is None:
            return None
        if isinstance(owner, Native) and name in owner.members:
            return owner.members[name]
        raise Unsupported(f"member {name} of {owner!r}")

    def on_element_access(self, node):
        owner, index = (self.value(each) for each in node.named_children)
        if isinstance(owner, Table):
            return owner[index]
        if isinstance(owner, (list, bytes)) and isinstance(index, list):
            return [owner[each] for each in index]
        if isinstance(owner, list):
            return owner[index] if -len(owner) <= index < len(owner) else None
        raise Unsupported(f"element of {owner!r}")

    def on_invocation_expression(self, node):
        owner, access, method, arguments = node.children
        owner, name = self.value(owner), text_of(method).lower()
        values = []
        for child in arguments.named_children:
            listed = self.innermost(child)
            if listed.type in ("argument_expression_list", "array_literal_expression"):
                values += [self.value(each) for each in listed.named_children]
            else:
                values.append(self.value(child))
        if text_of(access) == "::":
            call = STATIC.get(owner, {}).get(name)
        elif isinstance(owner, Native):
            call = owner.members.get(name)
        else:
            call = METHODS.get(type(owner), {}).get(name)
            values.insert(0, owner)
        if not callable(call):
            raise Unsupported(f"line {node.start_point[0] + 1}: method {name} of {owner!r}")
        return call(*values)

    def on_assignment_expression(self, node):
        target, operator, source = node.children[0], node.children[1], node.children[-1]
        if text_of(operator) != "=":
            raise Unsupported(text_of(operator))
        value = self.value(source)
        target = self.innermost(target)
        if target.type == "variable":
            self.set(text_of(target)[1:], value)
        elif target.type == "element_access":
            owner, index = (self.value(each) for each in target.named_children)
            owner[index] = value
        else:
            raise Unsupported(f"assignment to {target.type}")
        return NOTHING

    def on_post_increment_expression(self, node):
        name = text_of(node.children[0])[1:]
        self.set(name, self.get(name) + 1)
        return NOTHING

    def on_statement_block(self, node):
        return self.block(node)

    def on_if_statement(self, node):
        condition, body, *rest = (each for each in node.named_children if each.type != "comment")
        if is_true(self.value(condition)):
            return self.block(body)
        for clause in self.clauses(rest):
            if clause.type == "else_clause":
                return self.block(clause.named_children[-1])
            if is_true(self.value(clause.named_children[0])):
                return self.block(clause.named_children[-1])
        return []

    def clauses(self, nodes):
        for node in nodes:
            if node.type in ("else_clause", "elseif_clause"):
                yield node
            else:
                yield from self.clauses(node.named_children)

    def on_foreach_statement(self, node):
        variable, values, body = (each for each in node.named_children if each.type != "comment")
        output = []
        for value in as_list(self.value(values)):
            self.set(text_of(variable)[1:], value)
            output += self.block(body)
        return output

    def on_for_statement(self, node):
        start, condition, step, body = (each for each in node.named_children if each.type != "comment")
        output = []
        self.evaluate(start)
        while is_true(self.value(condition)):
            output += self.block(body)
            self.evaluate(step)
        return output

    def on_try_statement(self, node):
        body = node.child_by_field_name("body") or find(node, "statement_block", "catch_clause")[0]
        catch, last = find(node, "catch_clause", "statement_block"), find(node, "finally_clause", "statement_block")
        try:
            try:
                return self.block(body)
            except Failure as failure:
                if not catch:
                    raise
                self.set("_", Native(exception=Native(message=str(failure))))
                return self.block(catch[0].named_children[-1])
        finally:
            for clause in last:
                self.block(clause.named_children[-1])

    def on_flow_control_statement(self, node):
        word, *rest = node.children
        value = self.value(rest[0]) if rest else NOTHING
        if word.type == "throw":
            raise Failure(as_text(value))
        if word.type == "return":
            raise Return(as_list(value))
        raise Unsupported(word.type)

    def on_requires_statement(self, node):
        if not re.fullmatch(r"#requires -Version 7\.[0-4]", text_of(node)):
            raise Unsupported(text_of(node))
        return NOTHING

    def on_function_statement(self, node):
        name = text_of(node.child_by_field_name("name") or find(node, "function_name")[0])
        self.functions[name.lower()] = Function(name, find(node, "script_block")[0])
        return NOTHING

    # Commands.

    def on_pipeline_chain(self, node):
        values = None
        for child in node.children:
            if text_of(child) == "|" and not child.is_named:
                continue
            child = self.innermost(child)
            if child.type in ("command", "command_name"):
                values = as_list(self.command(child, values))
            else:
                values = as_list(self.value(child))
        return values

    def on_command(self, node):
        return self.command(node, None)

    def on_command_name(self, node):
        return self.command(node, None)

    def command(self, node, piped):
        """Runs a cmdlet, a function, a script or a program."""
        first = node.children[0] if node.type == "command" else node
        parts = [each for group in node.children[1:] for each in
                 (group.children if group.type == "command_elements" else [group])] if node.type == "command" else []
        parts = [each for each in parts if each.type not in ("command_argument_sep", "comment")]
        if first.type == "command_invocation_operator":
            target = self.value(parts.pop(0))
            if text_of(first) == ".":
                # Dot-sourced: in the scope of the caller, but for the place of the script.
                return self.dot_source(target)
            if isinstance(target, Block):
                self.scopes.append({})
                try:
                    return self.run_block(target)
                except Return as result:
                    return result.values
                finally:
                    self.scopes.pop()
            if isinstance(target, str) and target.endswith(".ps1"):
                return self.run_script(target, *self.arguments(parts))
            raise Unsupported(f"& {target!r}")
        name = text_of(first)
        folded = name.lower()
        if folded in self.functions:
            function = self.functions[folded]
            if folded == "invoke-az" and os.environ.get("COVERAGE"):
                with open(os.environ["COVERAGE"], "a", encoding="utf-8") as file:
                    file.write(self.places[node.id] + "\n")
            if function.parameters or function.is_advanced:
                return self.call(function, *self.arguments(parts, function))
            return self.call(function, {}, self.words(parts))
        cmdlet = getattr(self, "run_" + folded.replace("-", "_"), None)
        if cmdlet:
            return cmdlet(piped, *self.arguments(parts))
        if folded in ("az", "ssh", "scp"):
            return self.program(folded, [as_text(each) for word in self.words(parts) for each in as_list(word)])
        raise Unsupported(f"line {first.start_point[0] + 1}: command {name}")

    def dot_source(self, path):
        saved = self.scopes[-1].get("psscriptroot")
        self.scopes[-1]["psscriptroot"] = os.path.dirname(os.path.abspath(path))
        try:
            return self.block(self.load(path))
        finally:
            self.scopes[-1]["psscriptroot"] = saved

    def words(self, parts):
        """Arguments as a program gets them, `-x` included, `@array` spread out."""
        words = []
        for part in parts:
            text = text_of(part)
            if re.fullmatch(r"@\w+", text):
                words += as_list(self.get(text[1:]))
            else:
                words.append(text if text.startswith("-") else self.value(part))
        return words

    def arguments(self, parts, function=None):
        """Arguments as a cmdlet gets them: named, and positional."""
        switches = {"raw", "force", "nonewline", "completed", "asplaintext", "valueonly", "verbose", "whatif", "confirm"}
        if function:
            switches |= {name.lower() for name, kind, *_ in function.parameters if kind == "switch"}
        named, positional, at = {}, [], 0
        while at < len(parts):
            text = text_of(parts[at])
            if parts[at].type == "command_parameter":
                name, colon, given = text[1:].partition(":")
                name = name.lower()
                if colon:
                    raise Unsupported(text + given)
                # `-Switch` alone, or `-Name value`; asplaintext is a switch of both its cmdlets.
                if name in switches:
                    named[name] = True
                else:
                    at += 1
                    values = []
                    while True:
                        values.append(self.value(parts[at]))
                        if at + 1 < len(parts) and text_of(parts[at + 1]) == ",":
                            at += 2
                        else:
                            break
                    named[name] = values if len(values) > 1 else values[0]
            else:
                positional.append(self.value(parts[at]))
            at += 1
        return named, positional

    def program(self, name, words):
        if self.get("psnativecommanduseerroractionpreference"):
            raise Unsupported("$PSNativeCommandUseErrorActionPreference")
        sys.stdout.flush()
        result = subprocess.run([name, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
        self.scopes[0]["lastexitcode"] = result.returncode
        return result.stdout.splitlines()


def command_line(words):
    """The arguments of `pwsh -File`: all are text, but `-Name:$true` and `-Name:$false`."""
    named, positional, at = {}, [], 0
    while at < len(words):
        word = words[at]
        if re.match(r"-[A-Za-z]", word):
            name, _, given = word[1:].partition(":")
            if given.lower() in ("$true", "$false"):
                named[name.lower()] = given.lower() == "$true"
            elif at + 1 < len(words) and not re.match(r"-[A-Za-z]", words[at + 1]):
                at += 1
                named[name.lower()] = words[at]
            else:
                named[name.lower()] = True
        else:
            positional.append(word)
        at += 1
    return named, positional


def main():
    sys.stdout.reconfigure(line_buffering=True)
    shell = Shell()
    try:
        for value in shell.run_script(sys.argv[1], *command_line(sys.argv[2:])):
            print(as_text(value))
    except Failure as failure:
        print(f"Exception: {failure}", file=sys.stderr)
        return 1
    except Unsupported as what:
        print(f"unsupported: {what}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
