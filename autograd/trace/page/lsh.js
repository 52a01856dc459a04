export function lshView() { return null; }
