"""gdb's printers for Attune: tensors with their values, nodes, tapes, modules.

Installed beside the library as libattune.so.VERSION-gdb.py, and under gdb's auto-load folder, from where gdb reads it
by itself. What it shows is made by functions of the library, which are called in the stopped program: a core dump has
none to call, and the printers say so.
"""

import gdb
import gdb.printing

NOT_ALIVE = "(shown in a running program, not in a core dump)"


def called(function, address):
    """The text that a function of the library gives for an address in the stopped program."""
    if address == 0:
        return None
    try:
        gdb.selected_inferior().read_memory(address, 1)
    except gdb.MemoryError:
        return "(not made yet, or gone)"
    on_signal = gdb.parameter("unwindonsignal")
    try:
        gdb.execute("set unwindonsignal on")
        text = gdb.parse_and_eval(f"((const char *(*)(void *)){function})((void *){address})")
        return text.string("utf-8", "replace")
    except gdb.error as e:
        if "process" in str(e) or "thread" in str(e):
            return NOT_ALIVE
        if "extended state" in str(e):  # gdb 13 and a processor with AMX: its register file is larger than gdb knows
            return f"(gdb cannot call a program's functions on this machine: {e})"
        return f"(not made yet, or gone: {e})"
    finally:
        gdb.execute(f"set unwindonsignal {'on' if on_signal else 'off'}")


def pointer(ref):
    """The address that a Ref holds."""
    return int(next(ref[f] for f in ref.type.strip_typedefs().fields()))


def unqualified(value):
    kind = value.type
    if kind.code in (gdb.TYPE_CODE_REF, gdb.TYPE_CODE_RVALUE_REF):
        value = value.referenced_value()
        kind = value.type
    return value, kind.strip_typedefs().unqualified()


def base_offset(kind, base):
    """Where a base class lies in an object, in bytes; None if the type does not derive from it.

    Of a class of the library the program's debug information may have the name alone.
    """
    if kind.name == base:
        return 0
    for f in kind.fields() if kind.code == gdb.TYPE_CODE_STRUCT else ():
        if f.is_base_class:
            inside = base_offset(f.type.strip_typedefs(), base)
            if inside is not None:
                return f.bitpos // 8 + inside
    return None


def base_address(value, base):
    if value.address is None:
        return 0
    return int(value.address) + (base_offset(unqualified(value)[1], base) or 0)


class Printer:
    """Shows what `text` returns, without quotes."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return self.text()


class Tensor(Printer):
    def text(self):
        return called("attune_debugger_tensor", pointer(self.value["impl_"])) or "tensor(undefined)"


class Node(Printer):
    def text(self):
        if self.value.address is None:
            return "(a node that is not in memory)"
        return called("attune_debugger_node", int(self.value.address))


class Ref(Printer):
    def text(self):
        address = pointer(self.value)
        held = self.value.type.strip_typedefs().template_argument(0)
        if held.name == "attune::Node":
            return called("attune_debugger_node", address) or "no node"
        if held.name == "attune::TensorImpl":
            return called("attune_debugger_tensor", address) or "tensor(undefined)"
        return f"{held.name} at {address:#x}" if address else "null"


class Tape(Printer):
    def text(self):
        if self.value.address is None:
            return "(a tape that is not in memory)"
        return called("attune_debugger_tape", int(self.value.address))


class Dims(Printer):
    def text(self):
        rank = int(self.value["rank_"])
        if not 0 <= rank <= 10:
            return "(not made yet, or gone)"
        return "[" + ", ".join(str(int(self.value["v_"][i])) for i in range(rank)) + "]"


class Held(Printer):
    """A module's parameter or buffer."""

    def text(self):
        return called("attune_debugger_held", base_address(self.value, "attune::nn::Registered"))


class Module(Printer):
    def text(self):
        return called("attune_debugger_module", base_address(self.value, "attune::nn::Module"))


EXACT = {
    "attune::Tensor": Tensor,
    "attune::Gradient": Tensor,
    "attune::Node": Node,
    "attune::Tape": Tape,
    "attune::Dims": Dims,
    "attune::nn::Module": Module,
}
BEGINNINGS = {
    "attune::Ref<": Ref,
    "attune::detail::RuleNode<": Node,
    "attune::detail::JointNode<": Node,
    "attune::nn::Held<": Held,
}


class Attune(gdb.printing.PrettyPrinter):
    def __init__(self):
        super().__init__("attune")

    def __call__(self, value):
        value, kind = unqualified(value)
        if kind.code != gdb.TYPE_CODE_STRUCT or kind.name is None:
            return None
        if kind.name in EXACT:
            return EXACT[kind.name](value)
        for beginning, printer in BEGINNINGS.items():
            if kind.name.startswith(beginning):
                return printer(value)
        return Module(value) if base_offset(kind, "attune::nn::Module") is not None else None


gdb.printing.register_pretty_printer(gdb.current_objfile(), Attune(), replace=True)
