import { load } from "./data.js";
globalThis.attune = load();
