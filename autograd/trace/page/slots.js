// Nodes with several outputs: their slots by name, as the terminal writes them (s.1), and which of them are taken.

/** What output `slot` of a node is called; a node with one output is called by its name alone. */
export function slotName(pass, node, slot) {
  const label = pass.label(node) || `%${node}`;
  return pass.outputs(node).length > 1 ? `${label}.${slot}` : label;
}

/** The slots of a node that other nodes, or the pass's beginning, take; the first if none is. */
export function usedSlots(pass, node) {
  if (pass.outputs(node).length < 2) return [0];
  const taken = new Set((pass.stepAt(node)?.arrivals ?? []).map((arrival) => arrival.slot));
  for (const user of pass.users[node])
    for (const input of pass.node(user).inputs) if (input.node === node) taken.add(input.slot);
  return taken.size ? [...taken].sort((a, b) => a - b) : [0];
}
