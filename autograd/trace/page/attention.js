export function attentionView() { return null; }
