// @ts-check
// The views that the first draw of a list or a trace does not need. They form a file of the bundle that the page
// loads when it is idle or when a reader opens one of them. Must be imported only by `import()`.

export { CompareView } from "./compare-view.mjs";
export { FlameView } from "./flame-view.mjs";
export { fillHelp } from "./help-view.mjs";
export { InspectorView } from "./inspector-view.mjs";
export { LogsView } from "./logs-view.mjs";
export { OperationsView } from "./operations-view.mjs";
export { TailView } from "./tail-view.mjs";
