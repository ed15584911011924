// @ts-check
// Wires the page: address ↔ feeds ↔ views, keys, theme, and the one loop that draws.
// It must never interpret an event or build elements of the lists: those are the models' and the views' work.

import { address, getEvents, getJson } from "./api.mjs";
import { colours } from "./colours.mjs";
import { byId, calm, setAttribute, setShown, setText } from "./dom.mjs";
import { Expectations } from "./expected.mjs";
import { ExportMenu } from "./export-view.mjs";
import { TraceFeed } from "./feed.mjs";
import { FileView } from "./file-view.mjs";
import { withTerm } from "./facts.mjs";
import { FILE_PREFIX, missingFile } from "./files.mjs";
import { FlameView } from "./flame-view.mjs";
import { fillHelp } from "./help-view.mjs";
import { InspectorView } from "./inspector-view.mjs";
import { isOwnKey, keyTables } from "./keys.mjs";
import { ListFeed } from "./list-feed.mjs";
import { listCounts } from "./list-model.mjs";
import { ListView } from "./list-view.mjs";
import { Palette } from "./palette.mjs";
import { ServerClock, initResizer, initTheme, recall, remember } from "./page.mjs";
import { elsewhere, isSameLook, lookOf, parseRoute, routeText, shownBy } from "./route.mjs";
import { SearchView } from "./search-view.mjs";
import { pageShare } from "./share.mjs";
import { getSnapshot } from "./snapshot.mjs";
import { traceName } from "./span.mjs";
import { drawStatus } from "./status-view.mjs";
import { HEALED_MS, pageStatus, refusedText } from "./status.mjs";
import { formatOffset } from "./time.mjs";
import { wholeStretch } from "./timescale.mjs";
import { TraceView } from "./trace-view.mjs";
import { Travel } from "./travel.mjs";
import { TravelView } from "./travel-view.mjs";
import { Ui } from "./ui.mjs";
import { WaitingView } from "./waiting-view.mjs";

/** @typedef {import("./route.mjs").Route} Route */

const CALM_TICK_MS = 1_000;
const DEAR_MS = 3;
const NEWS_PATIENCE = 6;
const ANNOUNCE_MS = 5_000;
// Browsers refuse an address that changes with every frame of a zoom.
const ADDRESS_MS = 300;

const clock = new ServerClock();
const palette = new Palette(recall("services", /** @type {string[]} */ ([])));
const ui = new Ui(() => askFrame());
let route = parseRoute(location.search);
/** Whether the address names a zoom or a moment of a trace that is not there yet. */
let isLookDue = true;
/** @type {ReturnType<typeof setTimeout> | null} */
let addressDue = null;
let rememberedServices = palette.slots.size;
/** @type {TraceFeed | import("./files.mjs").FileFeed | null} */
let traceFeed = null;
let frameAsked = false;
/** @type {ReturnType<typeof setTimeout> | null} */
let tick = null;
/** @type {ReturnType<typeof setTimeout> | null} */
let healed = null;
/** @type {ReturnType<typeof setTimeout> | null} */
let newsDue = null;
/** Milliseconds that the last drawing took. */
let drawCost = 0;

const share = pageShare();
/** @type {import("./feed.mjs").World} */
const world = {
  getJson,
  getSnapshot: (path, begin) => getSnapshot(address(path), begin),
  openStream: (wanted) => share.open(wanted),
  setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clearTimeout: (timer) => clearTimeout(timer),
  onClock: (serverNow) => clock.hear(serverNow),
  serverNow: () => clock.reading(),
  onChange: newsCame,
};
const listFeed = new ListFeed(world);
const listView = new ListView({
  openTrace: (traceId) => go(elsewhere(route, traceId, null)),
  traceHref: (traceId) => hrefOf(elsewhere(route, traceId, null)),
  loadOlder: () => void listFeed.loadOlder(),
  forgetOlder: () => listFeed.forget(),
  setOrder: (order) => replace({ ...route, order }),
  changed: askFrame,
});
const actions = {
  select: (/** @type {string | null} */ spanId) => replace({ ...route, span: spanId }),
  goTo: (/** @type {string} */ spanId) => traceView.goTo(spanId),
  openTrace: (/** @type {string} */ traceId, /** @type {string | null} */ spanId = null) => (
    traceId === route.trace && spanId !== null ? traceView.goTo(spanId) : go(elsewhere(route, traceId, spanId))),
  hrefOf: (/** @type {string} */ traceId, /** @type {string | null} */ spanId = null) => hrefOf({ ...elsewhere(route, traceId, spanId), find: "" }),
  search: (/** @type {string} */ text) => replace(route.trace === null ? { ...route, query: text } : { ...route, find: text }),
  copy,
  announce,
};
/** What other views add to the rows of the waterfall. @type {import("./span-row-view.mjs").Decorator[]} */
const decorators = [];
const traceView = new TraceView({ ui, actions, decorators });
const flameView = new FlameView({ ui, actions, decorators });
const searchView = new SearchView(ui, actions);
const expectations = new Expectations({ getJson, now: () => performance.now(), changed: askFrame });
const waitingView = new WaitingView(ui, actions, expectations);
decorators.push((index, frame) => waitingView.decorate(index, frame));
const travel = new Travel({ events: getEvents, clock: () => performance.now(), changed: askFrame });
const travelView = new TravelView(byId("scrubber"), { ui, travel, colours });
const exportMenu = new ExportMenu(byId("trace-menu"), travelView);
const fileView = new FileView({
  announce,
  opened: ({ feeds }) => {
    const [first] = feeds.values();
    // Another file may hold the same trace.
    leaveTrace();
    go(elsewhere(route, feeds.size === 1 ? first.traceId : null, null));
  },
  closed: () => (route.trace?.startsWith(FILE_PREFIX) ? go(elsewhere(route, null, null)) : follow(route)),
});
const inspector = new InspectorView({
  close: () => actions.select(null),
  copy,
  openLink: actions.openTrace,
  linkHref: actions.hrefOf,
  goTo: actions.goTo,
  find: (term) => actions.search(withTerm(route.find, term)),
  usual: (service, name) => expectations.of(service, name),
  getJson,
  changed: askFrame,
});

// The address.

/** @param {Route} to @returns {string} */
function hrefOf(to) {
  // The path as it was opened: under an axum `.nest`, the one with a slash at its end is not answered.
  const url = new URL(location.href);
  url.search = routeText(to);
  url.hash = "";
  return url.href;
}

/** Another page: a step that "back" undoes. @param {Route} to */
function go(to) {
  // What was zoomed to a moment ago is what "back" leads to.
  if (addressDue !== null) writeAddress();
  history.pushState(null, "", hrefOf(to));
  follow(to);
}

/** The same page, looked at otherwise: no step of its own. @param {Route} to */
function replace(to) {
  route = to;
  writeAddress();
  follow(to);
}

function writeAddress() {
  if (addressDue !== null) clearTimeout(addressDue);
  addressDue = null;
  history.replaceState(null, "", hrefOf(route));
}

/** To what the address says, which may be anything. */
function arrive() {
  if (addressDue !== null) clearTimeout(addressDue);
  addressDue = null;
  isLookDue = true;
  follow(parseRoute(location.search));
}

/** Zoom and moment of the address, as soon as the trace is there; from then on, the address has those on show. @param {any} feed @param {number} liveNow */
function keepLook(feed, liveNow) {
  const trace = feed.model;
  if (trace.counts.total === 0 || feed.phase === "loading") return;
  if (isLookDue) {
    isLookDue = false;
    const { zoom, moment } = shownBy(route, wholeStretch(trace, trace.counts.open > 0 ? liveNow : null));
    if (zoom !== ui.zoom) ui.setZoom(zoom);
    if (moment !== ui.moment) ui.setMoment(moment);
  }
  // While it plays, every frame is another moment.
  if (travel.play !== null) return;
  const look = lookOf(ui, trace.start);
  if (isSameLook(look, route)) return;
  route = { ...route, ...look };
  addressDue ??= setTimeout(writeAddress, ADDRESS_MS);
}

/** @param {Route} to */
function follow(to) {
  route = to;
  ui.traceId = to.trace;
  ui.spanId = to.span;
  ui.query = to.query;
  ui.order = to.order;
  if (ui.view !== to.view) setView(to.view);
  shownList().search(to.query);
  for (const id of ["back", "home"]) setAttribute(byId(id), "href", hrefOf(elsewhere(to, null, null)));
  openFeed();
  askFrame();
}

/** The same trace, drawn otherwise. @param {Route["view"]} view */
function setView(view) {
  ui.setView(view);
  // What was scrolled to in the one is shown again in the other.
  traceView.revealed = "";
}

/** One stream at a time: what a page does not show costs the server nothing. */
function openFeed() {
  if (route.trace === null) {
    leaveTrace();
    shownList().open();
  } else if (traceFeed?.traceId !== route.trace) {
    listFeed.close();
    leaveTrace();
    traceView.reset();
    traceFeed = feedOf(route.trace);
    traceFeed.open();
  }
}

function leaveTrace() {
  traceFeed?.close();
  traceFeed = null;
  travel.forget();
}

/** @param {string} traceId */
function feedOf(traceId) {
  if (!traceId.startsWith(FILE_PREFIX)) return new TraceFeed(world, traceId);
  return fileView.file?.feed(traceId) ?? missingFile(traceId);
}

/** The traces of the server, or of the file that is open. */
function shownList() {
  if (fileView.file === null) return listFeed;
  listFeed.close();
  return fileView.file.list;
}

// Drawing.

/** What the reader does is drawn in the next frame; what the stream brings waits while a drawing is dear. */
function newsCame() {
  if (drawCost < DEAR_MS) askFrame();
  else newsDue ??= setTimeout(askFrame, drawCost * NEWS_PATIENCE);
}

function askFrame() {
  if (frameAsked) return;
  frameAsked = true;
  requestAnimationFrame(draw);
}

function draw() {
  frameAsked = false;
  if (tick !== null) clearTimeout(tick);
  if (newsDue !== null) clearTimeout(newsDue);
  tick = newsDue = null;
  const began = performance.now();
  const feed = traceFeed ?? shownList();
  // What is not heard is not known: without a connection the clocks on the page stand still.
  clock.setRunning(feed.status.word === "live" && !feed.paused);
  setShown(byId("list-page"), traceFeed === null);
  setShown(byId("trace-page"), traceFeed !== null);
  const wait = traceFeed === null ? drawList() : drawTrace(traceFeed);
  drawState(feed);
  rememberServices();
  drawCost = performance.now() - began;
  if (wait < Infinity && (clock.running || travel.play !== null) && !document.hidden) {
    tick = setTimeout(askFrame, calm.matches ? Math.max(wait, CALM_TICK_MS) : wait);
  }
}

/** @returns {number} milliseconds until the page changes by itself */
function drawList() {
  setText(document.querySelector("title") ?? document.head, titleOf("livespan"));
  searchView.drawList(route.query);
  const feed = /** @type {any} */ (shownList());
  return listView.draw({ feed, query: route.query, order: route.order, now: feed.fixedNow ?? clock.now(), palette });
}

/** @param {any} feed of the server or of a file @returns {number} */
function drawTrace(feed) {
  const origin = feed.model.originSeconds;
  const liveNow = feed.fixedNow ?? (Number.isNaN(origin) ? NaN : clock.now() - origin * 1000);
  keepLook(feed, liveNow);
  const shown = travel.shown(feed, ui, liveNow);
  const { trace } = shown;
  const now = shown.now ?? liveNow;
  searchView.drawTrace(trace, route.find, now);
  const frame = traceView.layOut({
    trace, feed, generation: feed.generation, ui, now, moment: ui.moment, live: trace.counts.open > 0 && ui.moment === null && feed.file === undefined, palette,
  });
  waitingView.draw(frame);
  drawViewChoice();
  const wait = Math.min(traceView.draw(frame), flameView.draw(frame), travelView.draw({ ...frame, liveNow }));
  exportMenu.draw(feed);
  inspector.draw({ trace, generation: feed.generation, spanId: ui.spanId, now, palette, file: feed.file !== undefined });
  setText(document.querySelector("title") ?? document.head, titleOf(traceName(trace) || "trace"));
  return wait;
}

function drawViewChoice() {
  const tree = byId("tree");
  setAttribute(tree, "data-view", ui.view);
  // A canvas is no grid of rows: then the head of the columns is only the axis above it.
  const isFlame = ui.view === "flame";
  setAttribute(tree, "role", isFlame ? "group" : "treegrid");
  setAttribute(tree.children[0], "role", isFlame ? "presentation" : "row");
  setAttribute(byId("axis"), "role", isFlame ? "presentation" : "columnheader");
  for (const view of /** @type {const} */ (["waterfall", "flame"])) setAttribute(byId(`view-${view}`), "aria-pressed", String(ui.view === view));
}

/** @param {string} what @returns {string} */
function titleOf(what) {
  return what === "livespan" ? "livespan" : `${what} · livespan`;
}

/** @param {any} feed of a trace or of the list, of the server or of a file */
function drawState(feed) {
  const trace = traceFeed?.model ?? null;
  const { hostDropped, losses, degraded } = feed.model;
  const known = { hostDropped, losses, restarts: trace?.restarts ?? 0, degraded: degraded === true };
  const past = trace === null || ui.moment === null ? undefined : formatOffset(ui.moment - trace.start);
  const status = pageStatus(feed, { ...known, past }, Date.now());
  const news = drawStatus(status, feed.status.lastId);
  if (news !== "") announce(news);
  // The word that an outage is over goes away even when nothing else happens.
  if (status.state === "live" && status.text !== "Live") {
    healed ??= setTimeout(() => {
      healed = null;
      askFrame();
    }, HEALED_MS);
  }
  const banner = trace === null ? "" : refusedText(trace);
  setShown(byId("banner"), banner !== "");
  setText(byId("banner"), banner);
  setShown(byId("pause"), feed.file === undefined);
  setAttribute(byId("pause"), "aria-pressed", String(feed.paused));
  setText(byId("pause"), feed.paused ? "Resume" : "Pause");
}

function rememberServices() {
  if (palette.slots.size === rememberedServices) return;
  rememberedServices = palette.slots.size;
  remember("services", palette.names());
}

// What a reader can do.

function togglePause() {
  const feed = traceFeed ?? shownList();
  if (feed.paused) feed.resume();
  else feed.pause();
  askFrame();
}

/** @param {string} text */
function copy(text) {
  // Without a secure context there is no clipboard; then the text can still be selected.
  navigator.clipboard?.writeText(text).then(() => announce("Copied"), () => announce("The browser refused to copy"));
}

/** @param {string} text */
function announce(text) {
  setText(byId("live"), text);
}

function announceCounts() {
  if (traceFeed !== null) {
    announce(traceView.announcement());
  } else if (shownList().model.loaded) {
    const { total, open, errors } = listCounts(shownList().model);
    announce(`${total} traces, ${open} running, ${errors} with errors`);
  }
}

function back() {
  if (route.trace !== null && route.span !== null) replace({ ...route, span: null });
  else if (route.trace !== null) go(elsewhere(route, null, null));
}

function toggleHelp() {
  const help = /** @type {HTMLDialogElement} */ (byId("help"));
  if (help.open) help.close();
  else help.showModal();
}

const keys = keyTables({
  listView, traceView, flameView, travelView, searchView,
  page: {
    back,
    help: toggleHelp,
    theme: () => byId("theme").click(),
    pause: togglePause,
    search: () => byId("filter").focus(),
    inspect: () => byId("inspector").focus(),
    view: () => go({ ...route, view: route.view === "flame" ? "waterfall" : "flame" }),
    criticalPath: () => ui.setCriticalPath(!ui.criticalPath),
  },
});

/** @param {KeyboardEvent} event */
function keyPressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (/** @type {HTMLDialogElement} */ (byId("help")).open) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.id === "filter" && (event.key === "Escape" || event.key === "Enter")) return leaveFilter(event);
  if (isOwnKey(target, event.key)) return;
  const table = keys[route.trace === null ? "list" : ui.view];
  if (!Object.hasOwn(table, event.key)) return;
  event.preventDefault();
  table[event.key]();
}

/** @param {KeyboardEvent} event */
function leaveFilter(event) {
  event.preventDefault();
  if (event.key === "Escape") {
    actions.search("");
    byId("filter").blur();
  } else if (route.trace !== null) {
    searchView.step(event.shiftKey ? -1 : 1);
  } else {
    byId("filter").blur();
    listView.move(0);
  }
}

function listen() {
  addEventListener("popstate", arrive);
  addEventListener("keydown", keyPressed);
  addEventListener("resize", askFrame);
  document.addEventListener("visibilitychange", askFrame);
  // A page in the back-forward cache must not hold a connection; when it comes back, it starts from a fresh snapshot.
  addEventListener("pagehide", () => {
    if (addressDue !== null) writeAddress();
    listFeed.close();
    traceFeed?.close();
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    traceFeed = null;
    arrive();
  });
  byId("pause").addEventListener("click", togglePause);
  byId("help-open").addEventListener("click", toggleHelp);
  byId("status").addEventListener("click", () => {
    const feed = traceFeed ?? shownList();
    if (feed.paused || feed.status.word === "ended") feed.resume();
    share.wake();
    ui.setMoment(null);
    askFrame();
  });
  byId("trace-id").addEventListener("click", () => copy(traceFeed?.model.traceId ?? ""));
  byId("expand-all").addEventListener("click", () => ui.openToDepth(Infinity));
  byId("collapse-all").addEventListener("click", () => ui.openToDepth(0));
  byId("next-error").addEventListener("click", () => traceView.goToError(1));
  byId("previous-error").addEventListener("click", () => traceView.goToError(-1));
  byId("view-waterfall").addEventListener("click", () => go({ ...route, view: "waterfall" }));
  byId("view-flame").addEventListener("click", () => go({ ...route, view: "flame" }));
  byId("follow").addEventListener("click", () => ui.setFollow(!ui.follow));
  for (const id of ["home", "back"]) {
    byId(id).addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      if (route.trace !== null) go(elsewhere(route, null, null));
    });
  }
}

fillHelp();
initTheme(askFrame);
initResizer(askFrame);
listen();
follow(route);
setInterval(announceCounts, ANNOUNCE_MS);
