export function recurrentView() { return null; }
