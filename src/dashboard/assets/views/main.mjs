// @ts-check
// Connects the parts of the page: address, feeds, views, keys, theme, and the one draw loop.
// Must never interpret an event or build list elements: those are the work of models and views.

import { FILE_PREFIX, missingFile } from "../model/files.mjs";
import { Follower } from "../model/follow.mjs";
import { isOwnKey, keyTables } from "../model/keys.mjs";
import { countsWords, listCounts } from "../model/list-model.mjs";
import { ListTitles } from "../model/list-titles.mjs";
import { Palette } from "../model/palette.mjs";
import { elsewhere } from "../model/route.mjs";
import { quoteTerm } from "../model/search.mjs";
import { withTerm } from "../model/span-details.mjs";
import { firstSpan, nameOf, serviceOf, shownTraceState, traceName } from "../model/span.mjs";
import { tabIcon } from "../model/tab-icon.mjs";
import { formatCount, plural } from "../model/time.mjs";
import { Travel } from "../model/time-travel.mjs";
import { address, getEvents, getJson as askServer, namesRoute } from "../net/api.mjs";
import { Expectations } from "../net/duration-baseline.mjs";
import { EarlierPhases } from "../net/earlier-phases.mjs";
import { isOtherRun, otherRuns, runBefore } from "../net/earlier-runs.mjs";
import { setKept } from "../net/keep.mjs";
import { ListFeed } from "../net/list-feed.mjs";
import { LogFeed } from "../net/log-feed.mjs";
import { OnDemand } from "../net/on-demand.mjs";
import { getSnapshot } from "../net/snapshot.mjs";
import { TraceFeed } from "../net/trace-feed.mjs";
import { colours } from "../paint/colours.mjs";
import { Announcer } from "./announcer.mjs";
import { AddressBar } from "./address-bar.mjs";
import { BellView } from "./bell-view.mjs";
import { CompareMenu } from "./compare-menu.mjs";
import { byId, calm, setAttribute, setShown, setText } from "./dom.mjs";
import { EmbeddedView, embeddedData } from "./embedded-view.mjs";
import { addElsewhere } from "./elsewhere-view.mjs";
import { ExportMenu } from "./export-view.mjs";
import { FileView } from "./file-view.mjs";
import { FocusKeeper } from "./focus.mjs";
import { decorateRank } from "./group-row-view.mjs";
import { ListFilters } from "./list-filters-view.mjs";
import { ListView } from "./list-view.mjs";
import { attachMenu, isMenuOpen } from "./menu.mjs";
import { OwnTraces } from "./own-traces.mjs";
import { pageHubClient } from "./page-hub.mjs";
import { PartBar } from "./part-bar.mjs";
import { PhasesView } from "./phases-view.mjs";
import { decorateRunning } from "./running-view.mjs";
import { SearchView } from "./search-view.mjs";
import { StateNews } from "./state-news.mjs";
import { StatusView } from "./status-view.mjs";
import { titleChoice } from "./title-choice.mjs";
import { TraceView } from "./trace-view.mjs";
import { TrafficView } from "./traffic-view.mjs";
import { TravelView } from "./travel-view.mjs";
import { ServerClock, initResizer, initTheme, initZone } from "./ui-preferences.mjs";
import { Ui } from "./ui-state.mjs";
import { WaitingView } from "./waiting-view.mjs";

/** @typedef {import("../model/route.mjs").Route} Route */

const VIEWS = /** @type {const} */ (["waterfall", "flame", "logs"]);
/** Minimum time between frames that only the passing of time requires, if the reader prefers reduced motion. */
const CALM_TICK_MS = 1_000;
/** If the last draw took at least this long, a stream event waits for its frame. */
const SLOW_DRAW_MS = 3;
/** The event waits for this many times the duration of the last draw. */
const NEWS_PATIENCE = 6;
/** Interval at which counts are announced to screen readers. */
const ANNOUNCE_MS = 5_000;
/** Interval at which the bells are checked even without a frame. */
const BELLS_MS = 2_500;

const clock = new ServerClock();
const announcer = new Announcer();
const palette = new Palette();
const ui = new Ui(() => askFrame());
/** The element with the traces if this page is a file. Such a page has no server. */
const dataNode = IS_FILE_PAGE ? embeddedData() : null;
const bar = new AddressBar(follow, dataNode === null ? "query" : "hash");
/** @type {TraceFeed | import("../model/files.mjs").FileFeed | null} */
let traceFeed = null;
/** The run that the trace is compared with. @type {TraceFeed | import("../model/files.mjs").FileFeed | null} */
let compareFeed = null;
let frameAsked = false;
let isStarted = false;
/** @type {ReturnType<typeof setTimeout> | null} */
let tick = null;
/** @type {ReturnType<typeof setTimeout> | null} */
let newsDue = null;
/** Duration of the last draw in milliseconds. */
let drawCost = 0;
/** When the program announced its shutdown, in milliseconds since 1970; 0 while it runs. */
let endedAt = 0;

const hubClient = dataNode === null ? pageHubClient() : null;
const tabIconNode = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=icon]"));
const plainIcon = tabIconNode.getAttribute("href") ?? "";
/** Requests JSON for most views. A page that is a file has no server, so each request returns status 0. */
const getJson = dataNode === null ? askServer : async () => ({ status: 0, body: null });
/** @type {import("../net/trace-feed.mjs").World} */
const world = {
  getJson,
  getSnapshot: (path, begin) => getSnapshot(address(path), begin),
  openStream: (wanted) => /** @type {import("../net/hub-client.mjs").HubClient} */ (hubClient).open(wanted),
  setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clearTimeout: (timer) => clearTimeout(timer),
  onClock: (serverNow) => clock.update(serverNow),
  serverNow: () => clock.reading(),
  now: () => Date.now(),
  endedAt: () => endedAt,
  onChange: newsCame,
};
const listFeed = new ListFeed(world);
const listTitles = new ListTitles(titleChoice);
const listView = new ListView({
  openTrace: (traceId, spanId = null) => bar.go(elsewhere(bar.route, traceId, spanId)),
  traceHref: (traceId, spanId = null) => bar.hrefOf(elsewhere(bar.route, traceId, spanId)),
  loadOlder: () => void listFeed.loadOlder(),
  forgetOlder: () => listFeed.forget(),
  setOrder: (order) => bar.replace({ ...bar.route, order }),
  search: (text) => actions.search(text),
  changed: askFrame,
  announce,
  setKept,
  compareBefore,
  hasBell: (traceId) => bellView.bells.has("trace", traceId),
  toggleBell: (trace) => bellView.toggle({ kind: "trace", of: trace.traceId, name: String(trace.name || "trace") }),
});
const own = new OwnTraces();
const listFilters = new ListFilters({ search: (text) => actions.search(text), setMine: (mine) => bar.replace({ ...bar.route, mine }), announce });
const trafficView = new TrafficView({ narrow: (since, until) => bar.replace({ ...bar.route, since, until }) }, askFrame);
const actions = {
  select: (/** @type {string | null} */ spanId) => bar.replace({ ...bar.route, span: spanId }),
  goTo: (/** @type {string} */ spanId) => traceView.goTo(spanId),
  openTrace: (/** @type {string} */ traceId, /** @type {string | null} */ spanId = null) => (
    traceId === bar.route.trace && spanId !== null ? traceView.goTo(spanId) : bar.go(elsewhere(bar.route, traceId, spanId))),
  hrefOf: (/** @type {string} */ traceId, /** @type {string | null} */ spanId = null) => bar.hrefOf({ ...elsewhere(bar.route, traceId, spanId), find: "" }),
  search: (/** @type {string} */ text) => bar.replace(bar.route.trace === null ? { ...bar.route, query: text } : { ...bar.route, find: text }),
  copy,
  announce,
};
/**
 * Functions with which other views add to the rows of the waterfall.
 * @type {import("./span-row-view.mjs").Decorator[]}
 */
const decorators = [];
const follower = new Follower();
const traceView = new TraceView({ ui, actions, decorators, follower });
const keeper = new FocusKeeper(() => focusPage());
const news = new StateNews(announce);
const logFeed = new LogFeed(world);
const searchView = new SearchView(ui, actions);
const expectations = new Expectations({ getJson, now: () => performance.now(), changed: askFrame });
const waitingView = new WaitingView(ui, actions, expectations);
const phasesView = new PhasesView(ui, expectations, new EarlierPhases({ getJson, now: () => performance.now(), changed: askFrame }));
decorators.push(decorateRunning, (index, frame) => waitingView.decorate(index, frame), decorateRank);
const travel = new Travel({ events: getEvents, clock: () => performance.now(), changed: askFrame });
const travelView = new TravelView(byId("scrubber"), { ui, travel, colours });
const nowIn = (/** @type {any} */ feed) => feed.fixedNow ?? (Number.isNaN(feed.model.originSeconds) ? NaN : clock.now() - feed.model.originSeconds * 1_000);
const exportMenu = new ExportMenu(byId("trace-menu"), travelView, (items) => addElsewhere(items, { copy, trace: () => (traceFeed === null ? null : { model: traceFeed.model, now: nowIn(traceFeed) }) }));
const bellView = new BellView(byId("trace-menu"), { announce, changed: askFrame, openTrace: actions.openTrace, own: (traceId) => own.add(traceId), getJson: askServer });
const embedded = !IS_FILE_PAGE || dataNode === null ? null : new EmbeddedView(dataNode, {
  announce,
  opened: ({ feeds }) => {
    const [only] = feeds.values();
    travelView.open = true;
    setAttribute(byId("back"), "data-list", feeds.size > 1);
    if (bar.route.trace === null && feeds.size === 1) bar.replace(elsewhere(bar.route, only.traceId, null));
    else follow(bar.route);
  },
});
const fileView = embedded ?? new FileView({
  announce,
  opened: ({ feeds }) => {
    const [first] = feeds.values();
    // Another file may contain the same trace.
    leaveTrace();
    bar.go(elsewhere(bar.route, feeds.size === 1 ? first.traceId : null, null));
  },
  closed: () => (bar.route.trace?.startsWith(FILE_PREFIX) ? bar.go(elsewhere(bar.route, null, null)) : follow(bar.route)),
});
const compareMenu = new CompareMenu(byId("trace-menu"), {
  announce, zone: () => ui.zone, runs: runsLikeThis, go: (traceId) => bar.go({ ...bar.route, compare: traceId }), hrefOf: (traceId) => bar.hrefOf({ ...bar.route, compare: traceId }),
});
const statusView = new StatusView({ announce, changed: askFrame, getJson, zone: () => ui.zone });
/** The views that are loaded after the first draw. */
const onDemand = new OnDemand({ load: loadViews, make: makeViews, changed: askFrame });
const partBar = new PartBar(onDemand, { announce, changed: askFrame });

/** @param {number} attempt @returns {Promise<typeof import("./on-demand.mjs")>} */
function loadViews(attempt) {
  return IS_FILE_PAGE || attempt === 0 ? import("./on-demand.mjs") : import(new URL(`${ON_DEMAND_FILE}?attempt=${attempt}`, import.meta.url).href);
}

/** @param {typeof import("./on-demand.mjs")} module */
function makeViews({ CompareView, FlameView, InspectorView, LogsView, OperationsView, TailView, fillHelp }) {
  fillHelp();
  const flame = new FlameView({ ui, actions, decorators, follower });
  const logs = new LogsView({ ui, actions: { ...actions, waterfall: () => showView("waterfall") }, point: (x) => traceView.pointAt(x) });
  const tail = new TailView(logFeed, {
    changed: askFrame, copy, openTrace: actions.openTrace, zone: () => ui.zone,
    namesOf: async (traceIds) => {
      const { status, body } = await getJson(namesRoute(traceIds));
      if (status !== 200 || !Array.isArray(body?.traces)) return null;
      return body.traces.map((/** @type {any} */ { traceId, name }) => [String(traceId), String(name || "(no name)")]);
    },
  });
  const compare = new CompareView({
    swap: swapRuns, changed: askFrame, announce,
    open: (trace, index) => {
      const feed = trace === compareFeed?.model ? compareFeed : traceFeed;
      if (feed !== null) bar.go({ ...elsewhere(bar.route, feed.traceId, trace.spans.ids[index]), compare: null });
    },
  });
  const operations = new OperationsView({
    getJson, changed: askFrame, openTrace: actions.openTrace, hrefOf: actions.hrefOf, search: (text) => actions.search(text),
    list: (query) => bar.go({ ...listed("traces"), query }),
  });
  if (isOperations()) operations.open();
  const inspector = new InspectorView({
    close: () => actions.select(null),
    copy,
    openLink: actions.openTrace,
    linkHref: actions.hrefOf,
    goTo: actions.goTo,
    find: (term) => actions.search(withTerm(bar.route.find, term)),
    showLogs: (spanId) => {
      logs.show(spanId);
      showView("logs");
    },
    usual: (service, name) => expectations.of(service, name),
    showOperation: (service, name) => {
      operations.reveal(service, name);
      bar.go({ ...listed("operations"), query: `name:${quoteTerm(name)}` });
    },
    getJson,
    changed: askFrame,
  });
  keys = pageKeys({ flameView: flame, compareView: compare });
  return { flame, logs, tail, compare, operations, inspector };
}

/** Returns the name of the shown part that is loaded on demand. @returns {string} "" if there is none */
function wantedPart() {
  if (isOperations()) return "Operations";
  if (bar.route.trace === null) return bar.route.page === "logs" ? "Logs" : "";
  if (bar.route.compare !== null) return "The comparison";
  if (ui.view !== "waterfall") return ui.view === "flame" ? "The flame view" : "The log records";
  return ui.spanId === null ? "" : "The inspector";
}

// Address

/** @param {Route} to */
function follow(to) {
  ui.traceId = to.trace;
  ui.spanId = to.span;
  ui.query = to.query;
  ui.order = to.order;
  if (ui.view !== to.view) setView(to.view);
  if (to.page !== "operations") shownList().search(to.query);
  setAttribute(byId("compare-back"), "href", bar.hrefOf({ ...to, compare: null }));
  setAttribute(byId("back"), "href", bar.hrefOf(elsewhere(to, null, null)));
  for (const [id, page] of PAGES) {
    setAttribute(byId(id), "href", bar.hrefOf(listed(page)));
    if (id !== "home") setAttribute(byId(id), "aria-current", to.page === page ? (to.trace === null ? "page" : "true") : null);
  }
  openFeed();
  askFrame();
}

/** Returns the shown list of records, or null. */
function records() {
  const { part } = onDemand;
  if (part === null || bar.route.compare !== null) return null;
  if (bar.route.trace === null) return bar.route.page === "logs" ? part.tail.table : null;
  return ui.view === "logs" ? part.logs.table : null;
}

/** The elements that lead to a list. @type {[string, Route["page"]][]} */
const PAGES = [["home", "traces"], ["to-traces", "traces"], ["to-operations", "operations"], ["to-logs", "logs"]];

/** @param {Route["page"]} page @returns {Route} the route to a list from the current page */
function listed(page) {
  // The searches of operations and of traces are different.
  const query = (page === "operations") === (bar.route.page === "operations") ? bar.route.query : "";
  return { ...elsewhere(bar.route, null, null), page, query };
}

/** Returns the feed of the shown page: a trace, the list of traces, or the log records of all. */
function feedOnShow() {
  return traceFeed ?? (bar.route.page === "logs" ? logFeed : shownList());
}

/** @param {Route["view"]} view */
function showView(view) {
  if (view === bar.route.view) return;
  const { spanId } = ui;
  if (view === "logs" && spanId !== null) onDemand.with(({ logs }) => logs.show(spanId));
  bar.go({ ...bar.route, view });
}

/** Changes the view of the same trace. @param {Route["view"]} view */
function setView(view) {
  ui.setView(view);
  // The other view scrolls to the selection again.
  traceView.revealed = "";
}

/** Opens the feed of the page and closes the others, so that only the shown page costs the server anything. */
function openFeed() {
  if (bar.route.trace === null) {
    // Back in the list, the row of the trace is active.
    if (traceFeed !== null) listView.activeId = traceFeed.traceId;
    leaveTrace();
    if (bar.route.page === "logs") leaveList();
    else logFeed.close();
    feedOnShow().open();
  } else if (traceFeed?.traceId !== bar.route.trace) {
    leaveList();
    logFeed.close();
    leaveTrace();
    traceView.reset();
    if (!bar.route.trace.startsWith(FILE_PREFIX)) own.add(bar.route.trace);
    traceFeed = feedOf(bar.route.trace);
    traceFeed.open();
  }
  openOther();
  if (isOperations()) onDemand.part?.operations.open();
  else onDemand.part?.operations.close();
}

/** @returns {boolean} whether the page shows the operations */
function isOperations() {
  return bar.route.trace === null && bar.route.page === "operations";
}

/** Closes the list's stream, unless a bell needs it. */
function leaveList() {
  if (bellView.isListening && dataNode === null) listFeed.open();
  else listFeed.close();
}

/** Opens or closes the feed of the run to compare with. */
function openOther() {
  const { trace, compare } = bar.route;
  const wanted = trace === null ? null : compare;
  if (compareFeed?.traceId === wanted) return;
  compareFeed?.close();
  compareFeed = wanted === null ? null : feedOf(wanted);
  compareFeed?.open();
}

/**
 * Returns other runs with the name and service of the trace's first span: those in the open file and, unless the trace
 * is from a file, those on the server.
 */
async function runsLikeThis() {
  if (traceFeed === null) return null;
  const { model, traceId } = traceFeed;
  const first = firstSpan(model);
  if (first < 0) return { before: null, runs: [] };
  const start = String(model.spans.events[first]?.startTimestamp ?? model.spans.events[first]?.timestamp ?? "");
  return runsLike({ traceId, name: nameOf(model, first), service: serviceOf(model, first) }, start);
}

/** @param {import("../net/earlier-runs.mjs").Run} run @param {string} start its start timestamp */
async function runsLike(run, start) {
  const { traceId } = run;
  const inFile = [...(fileView.file?.list.model.traces.values() ?? [])].filter((trace) => isOtherRun(trace, run)).sort((a, b) => (a.startTimestamp < b.startTimestamp ? 1 : -1));
  const kept = traceId.startsWith(FILE_PREFIX) ? [] : await otherRuns(getJson, run);
  if (kept === null && inFile.length === 0) return null;
  return { before: runBefore(kept ?? [], start) ?? runBefore(inFile, start), runs: [...(kept ?? []), ...inFile] };
}

/** Compares a trace of the list with the run before it. @param {import("../model/list-model.mjs").Summary} trace @returns {Promise<string>} why there is no comparison, or an empty text */
async function compareBefore(trace) {
  const found = await runsLike({ traceId: trace.traceId, name: trace.name, service: trace.service }, trace.startTimestamp);
  if (found === null) return "The other runs could not be loaded";
  if (found.before === null) return "No earlier run of this name is kept";
  bar.go({ ...elsewhere(bar.route, trace.traceId, null), compare: found.before.traceId });
  return "";
}

function swapRuns() {
  if (traceFeed === null || compareFeed === null) return;
  [traceFeed, compareFeed] = [compareFeed, traceFeed];
  traceView.reset();
  bar.replace({ ...bar.route, trace: traceFeed.traceId, compare: compareFeed.traceId, span: null });
}

function leaveTrace() {
  traceFeed?.close();
  traceFeed = null;
  travel.forget();
  onDemand.part?.logs.forget();
}

/** @param {string} traceId */
function feedOf(traceId) {
  if (!traceId.startsWith(FILE_PREFIX)) return new TraceFeed(world, traceId);
  return fileView.file?.feed(traceId) ?? missingFile(traceId);
}

/** Returns the list of the open file, else that of the server. */
function shownList() {
  if (fileView.file === null) return listFeed;
  listFeed.close();
  return fileView.file.list;
}

// Drawing

/** Requests a frame after stream events. Waits longer if draws are slow; input is always drawn in the next frame. */
function newsCame() {
  if (drawCost < SLOW_DRAW_MS) askFrame();
  else newsDue ??= setTimeout(askFrame, drawCost * NEWS_PATIENCE);
}

/** Checks the bells. Works also in hidden tabs, which draw nothing but need bells most. */
function checkBells() {
  if (bellView.isListening) bellView.check(listFeed.model, ({ service, name }) => expectations.of(service, name), clock.reading());
}

function askFrame() {
  // A tab opened in the background may request frames before all views exist.
  if (isStarted && document.hidden) checkBells();
  if (frameAsked) return;
  frameAsked = true;
  requestAnimationFrame(draw);
}

function draw() {
  frameAsked = false;
  // A page that is a file draws nothing before it is read.
  if (embedded !== null && embedded.file === null) return;
  if (tick !== null) clearTimeout(tick);
  if (newsDue !== null) clearTimeout(newsDue);
  tick = newsDue = null;
  const began = performance.now();
  const feed = feedOnShow();
  noteEnd(feed.status);
  // Without a connection, the present state is unknown, so durations stop growing. Ages continue.
  clock.setRunning(feed.status.word === "live" && !feed.paused);
  const isLogs = feed === logFeed;
  setShown(byId("list-page"), traceFeed === null && !isLogs && !isOperations());
  setShown(byId("operations-page"), isOperations());
  setShown(byId("logs-page"), isLogs);
  setShown(byId("trace-page"), traceFeed !== null && compareFeed === null);
  setShown(byId("compare-page"), compareFeed !== null);
  setAttribute(byId("filter-form"), "data-unused", isLogs);
  partBar.draw(wantedPart());
  const wait = isLogs ? drawTail() : isOperations() ? drawOperations() : traceFeed === null ? drawList() : compareFeed !== null ? drawCompare(traceFeed, compareFeed) : drawTrace(traceFeed);
  statusView.draw(feed, traceFeed?.model ?? null, ui.moment);
  bellView.draw(traceFeed === null ? null : { traceId: traceFeed.traceId, name: traceName(traceFeed.model) || "trace", isOpen: traceFeed.model.counts.open > 0, isFile: /** @type {any} */ (traceFeed).file !== undefined }, isOperations() || isLogs ? "" : bar.route.query);
  checkBells();
  keeper.check();
  drawCost = performance.now() - began;
  if (wait < Infinity && (clock.running || travel.play !== null || traceFeed === null) && !document.hidden) {
    tick = setTimeout(askFrame, calm.matches ? Math.max(wait, CALM_TICK_MS) : wait);
  }
}

/** @param {import("../net/stream.mjs").StreamStatus} status */
function noteEnd({ word, reason, since }) {
  if (word === "live") endedAt = 0;
  else if (word === "ended" && reason === "shutdown") endedAt = since;
}

/** @returns {number} milliseconds until the page changes without input */
function drawList() {
  searchView.drawList(bar.route.query);
  const feed = /** @type {any} */ (shownList());
  const now = feed.fixedNow ?? clock.now();
  const { query, order, since, until, mine } = bar.route;
  /** @type {import("./list-view.mjs").ListFrame} */
  const frame = {
    feed, query, order, now, age: feed.fixedNow ?? (feed.paused ? now : clock.reading()), moving: clock.running && feed.file === undefined, hrefs: `${query} ${order} ${since} ${until} ${mine}`, palette,
    zone: ui.zone, usual: ({ service, name }) => (feed.file === undefined ? expectations.of(service, name) : null),
    titles: listTitles, narrowed: { since, until, mine: mine ? own.ids : null },
  };
  const wait = Math.min(listFilters.draw(frame, own.ids, listView.isHeld), trafficView.draw(frame), listView.draw(frame));
  news.updateRow(listView.focused);
  const isLive = feed.file === undefined && listView.open > 0;
  drawTab(isLive ? `(${formatCount(listView.open)}) livespan` : "livespan", isLive ? "running" : "");
  return wait;
}

/** @returns {number} */
function drawOperations() {
  drawTab(titleOf("operations"));
  searchView.drawList(bar.route.query);
  onDemand.part?.operations.draw({ query: bar.route.query, now: clock.reading(), zone: ui.zone, palette });
  return Infinity;
}

/** @returns {number} */
function drawTail() {
  drawTab(titleOf("logs"));
  onDemand.part?.tail.draw();
  return Infinity;
}

/** @param {any} feed feed of a trace, from the server or a file @returns {number} */
function drawTrace(feed) {
  const origin = feed.model.originSeconds;
  const liveNow = feed.fixedNow ?? (Number.isNaN(origin) ? NaN : clock.now() - origin * 1000);
  // While playing, the moment changes in every frame, so the address is not updated.
  if (feed.model.counts.total > 0 && feed.phase !== "loading" && (bar.isLookDue || travel.play === null)) bar.keepLook(feed.model, ui, liveNow);
  const shown = travel.shown(feed, ui, liveNow);
  const { trace } = shown;
  const now = shown.now ?? liveNow;
  searchView.drawTrace(trace, bar.route.find, now);
  const frame = traceView.layOut({
    trace, feed, ui, now, moment: ui.moment, live: trace.counts.open > 0 && ui.moment === null && feed.file === undefined,
    moving: travel.play !== null || (ui.moment === null && feed.file === undefined && clock.running), palette,
  });
  phasesView.draw(frame, () => traceView.whole());
  waitingView.draw(frame);
  drawViewChoice();
  const { part } = onDemand;
  part?.logs.draw(frame);
  const wait = Math.min(traceView.draw(frame), part?.flame.draw(frame) ?? Infinity, travelView.draw({ ...frame, liveNow }));
  exportMenu.draw(feed);
  part?.inspector.draw({ trace, spanId: ui.spanId, now, moving: frame.moving, palette, file: feed.file !== undefined });
  news.update(frame);
  drawTab(titleOf(traceView.title.tab), trace.counts.total === 0 ? "" : shownTraceState(trace));
  return wait;
}

/** @param {any} feed @param {any} other @returns {number} */
function drawCompare(feed, other) {
  const now = nowIn(feed);
  searchView.drawTrace(feed.model, bar.route.find, now);
  drawTab(titleOf(`${traceName(feed.model) || "trace"}, two runs`), feed.model.counts.open > 0 ? "running" : "");
  const loading = feed.phase === "loading" || other.phase === "loading";
  return onDemand.part === null ? Infinity : onDemand.part.compare.draw({ a: other.model, b: feed.model, now: { a: nowIn(other), b: now }, moving: clock.running, loading, missing: false, find: bar.route.find, zone: ui.zone, palette });
}

function drawViewChoice() {
  setAttribute(byId("tree"), "data-view", ui.view);
  // The `hidden` attribute, not only a style, so that the focus moves to the other view.
  setShown(byId("tree-scroller"), ui.view === "waterfall");
  for (const view of VIEWS) setAttribute(byId(`view-${view}`), "aria-pressed", String(ui.view === view));
}

/** @param {string} what @returns {string} */
function titleOf(what) {
  return `${what} · livespan`;
}

/** Updates the browser tab: title and icon. @param {string} title @param {string} [state] of the shown trace */
function drawTab(title, state = "") {
  setText(document.querySelector("title") ?? document.head, title);
  setAttribute(tabIconNode, "href", tabIcon(state) || plainIcon);
}

// Input

function togglePause() {
  const feed = feedOnShow();
  if (feed.paused) feed.resume();
  else feed.pause();
  askFrame();
}

/** @param {string} text */
function copy(text) {
  // Without a secure context there is no clipboard API; the text can still be selected.
  navigator.clipboard?.writeText(text).then(() => announce("Copied"), () => announce("The browser refused to copy"));
}

/** @param {string} text */
function announce(text) {
  announcer.tell(text);
}

function announceCounts() {
  // A screen reader must be able to finish the last announcement, so counts wait.
  if (!announcer.isQuietFor(ANNOUNCE_MS * 0.9)) return;
  if (traceFeed !== null) {
    announce(traceView.announcement());
  } else if (bar.route.page === "traces" && shownList().model.loaded) {
    const counts = listCounts(shownList().model);
    announce(`${plural(counts.total, "trace")}, ${countsWords(counts).replaceAll(" · ", ", ")}`);
  }
}

/** Moves the focus to the main element of the page when the focused element is gone. */
function focusPage() {
  const { part } = onDemand;
  if (compareFeed !== null) part?.compare.focusActive();
  else if (records() !== null) records()?.rows.focus({ preventScroll: true });
  else if (isOperations()) part?.operations.focusActive();
  else if (traceFeed === null) listView.focusActive();
  else if (ui.view !== "waterfall") (part?.flame.canvas ?? byId(`view-${ui.view}`)).focus({ preventScroll: true });
  else traceView.focusActive();
}

function back() {
  if (bar.route.compare !== null) bar.go({ ...bar.route, compare: null });
  else if (bar.route.trace !== null && bar.route.span !== null) bar.replace({ ...bar.route, span: null });
  else if (bar.route.trace !== null) bar.go(elsewhere(bar.route, null, null));
}

function toggleHelp() {
  const help = /** @type {HTMLDialogElement} */ (byId("help"));
  if (help.open) help.close();
  else onDemand.with(() => help.open || help.showModal());
}

/** Keys of the operations, which work as soon as their code is loaded. */
const operationKeys = { move: (/** @type {number} */ rows) => onDemand.part?.operations.move(rows), openActive: () => onDemand.part?.operations.openActive() };

/** @param {Pick<import("../model/keys.mjs").Keyed, "flameView" | "compareView">} keys of views that are loaded on demand */
function pageKeys({ flameView, compareView }) {
  return keyTables({
    listView, listFilters, operationsView: operationKeys, traceView, flameView, travelView, compareView, searchView,
    records: { move: (lines) => records()?.move(lines), time: () => onDemand.part?.logs.cycleTime() },
    page: {
      back,
      help: toggleHelp,
      theme: () => byId("theme").click(),
      pause: togglePause,
      search: () => (records()?.search ?? byId("filter")).focus(),
      inspect: () => void (traceView.steps.openActive() || byId("inspector").focus()),
      view: () => showView(VIEWS[(VIEWS.indexOf(bar.route.view) + 1) % VIEWS.length]),
      criticalPath: () => ui.setCriticalPath(!ui.criticalPath),
      compare: () => void compareMenu.before(),
      bell: () => bellView.ring(),
    },
  });
}
let keys = pageKeys({ flameView: { keys: {} }, compareView: { keys: {} } });

/** @param {KeyboardEvent} event */
function keyPressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (/** @type {HTMLDialogElement} */ (byId("help")).open || isMenuOpen()) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.id === "filter" && (event.key === "Escape" || event.key === "Enter")) return leaveFilter(event);
  if (isOwnKey(target, event.key)) return;
  const table = keys[compareFeed !== null ? "compare" : isOperations() ? "operations" : records() !== null ? "logs" : bar.route.trace === null ? "list" : ui.view];
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
  } else if (bar.route.trace !== null) {
    searchView.step(event.shiftKey ? -1 : 1);
  } else {
    byId("filter").blur();
    if (!isOperations() && shownList() === listFeed) listFeed.searchAgain();
    (isOperations() ? operationKeys : listView).move(0);
  }
}

function listen() {
  addEventListener("popstate", () => bar.arrive());
  addEventListener("keydown", keyPressed);
  addEventListener("resize", askFrame);
  document.addEventListener("visibilitychange", askFrame);
  // A page in the back-forward cache must not hold a connection. After its return, it loads a fresh snapshot.
  addEventListener("pagehide", () => {
    bar.settle();
    listFeed.close();
    logFeed.close();
    traceFeed?.close();
    compareFeed?.close();
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    traceFeed = compareFeed = null;
    bar.arrive();
  });
  byId("pause").addEventListener("click", togglePause);
  byId("help-open").addEventListener("click", toggleHelp);
  byId("status").addEventListener("click", () => {
    const feed = feedOnShow();
    if (feed.paused || feed.status.word === "ended") feed.resume();
    hubClient?.wake();
    ui.setMoment(null);
    askFrame();
  });
  byId("trace-id").addEventListener("click", () => copy(traceFeed?.model.traceId ?? ""));
  byId("expand-all").addEventListener("click", () => ui.openToDepth(Infinity));
  byId("collapse-all").addEventListener("click", () => ui.openToDepth(0));
  byId("next-error").addEventListener("click", () => traceView.steps.goToError(1));
  byId("previous-error").addEventListener("click", () => traceView.steps.goToError(-1));
  for (const view of VIEWS) byId(`view-${view}`).addEventListener("click", () => showView(view));
  byId("follow").addEventListener("click", () => ui.setFollow(!ui.follow));
  const leads = (/** @type {string} */ id, /** @type {() => Route} */ to) => byId(id).addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const route = to();
    if (route.trace !== bar.route.trace || route.page !== bar.route.page) bar.go(route);
  });
  for (const side of /** @type {const} */ (["a", "b"])) byId(`compare-${side}`).addEventListener("click", () => {
    const feed = side === "a" ? compareFeed : traceFeed;
    if (feed !== null) bar.go({ ...elsewhere(bar.route, feed.traceId, null), compare: null });
  });
  byId("compare-back").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    back();
  });
  leads("back", () => elsewhere(bar.route, null, null));
  for (const [id, page] of PAGES) leads(id, () => listed(page));
}

isStarted = true;
attachMenu(byId("more"), byId("more-items"));
initTheme(askFrame);
initZone(ui);
initResizer(askFrame);
listen();
if (embedded === null) follow(bar.route);
else void embedded.read();
setInterval(announceCounts, ANNOUNCE_MS);
setInterval(checkBells, BELLS_MS);
// Load the other views while the program can still serve them.
(globalThis.requestIdleCallback ?? setTimeout)(() => void onDemand.preload());
