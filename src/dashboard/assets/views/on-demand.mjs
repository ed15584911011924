// @ts-check
// The views that the first look at a list or a trace does not need. They are one file of the bundle, which the page loads
// when it is idle, or when a reader wants one of them. It must never be imported but by `import()`.

export { CompareView } from "./compare-view.mjs";
export { FlameView } from "./flame-view.mjs";
export { fillHelp } from "./help-view.mjs";
export { InspectorView } from "./inspector-view.mjs";
export { LogsView } from "./logs-view.mjs";
export { OperationsView } from "./operations-view.mjs";
export { TailView } from "./tail-view.mjs";
