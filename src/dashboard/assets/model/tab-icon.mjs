// @ts-check
// The icon of the browser tab, which shows the state of a trace, so that a reader can watch a job from another tab.
// States differ in shape or colour, but a panic looks like an error. Must never touch the DOM.

/** Colour and shape of each badge, in a square of 16. @type {Record<string, [string, string]>} */
const BADGES = {
  running: ["%232f81d8", "M8 4.4V8l2.6 1.8"],
  waiting: ["%239a6700", "M6.2 5v6M9.8 5v6"],
  failing: ["%23cf222e", "M8 4.2v4.4M8 11.4v.2"],
  ok: ["%231a7f37", "M4.8 8.4l2.2 2.2 4.2-4.8"],
  below: ["%23b3261e", "M4.8 8.4l2.2 2.2 4.2-4.8"],
  error: ["%23cf222e", "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2"],
  panicked: ["%23cf222e", "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2"],
  cancelled: ["%23656d76", "M4.8 11.2l6.4-6.4"],
  lost: ["%23656d76", "M6 6.4a2 2 0 1 1 2.8 1.8c-.6.3-.8.6-.8 1.2M8 11.6v.2"],
};

/** The logo, small enough to leave room for the badge. Percent-encoded for use in a data URL. */
const LOGO = "%3Crect width='32' height='32' rx='7' fill='%2312324a'/%3E%3Crect x='4' y='5' width='23' height='5' rx='2.5' fill='%2358b6e8'/%3E%3Crect x='7' y='12.5' width='9' height='5' rx='2.5' fill='%237ddbb4'/%3E";

/** @param {string} state of a trace @returns {string} the address of its icon, or "" if the state has no icon */
export function tabIcon(state) {
  if (!Object.hasOwn(BADGES, state)) return "";
  const [colour, path] = BADGES[state];
  // Open states are outlined, ended ones filled.
  const [ground, line] = state === "failing" || state === "running" || state === "waiting" ? ["white", colour] : [colour, "white"];
  return `data:image/svg+xml,%3Csvg xmlns='http%3A//www.w3.org/2000/svg' viewBox='0 0 32 32'%3E${LOGO}%3Cg transform='translate(10.5 10.5) scale(1.34)'%3E`
    + `%3Ccircle cx='8' cy='8' r='7' fill='${ground}' stroke='${line}' stroke-width='1.6'/%3E`
    + `%3Cpath d='${path}' fill='none' stroke='${line}' stroke-width='2.2' stroke-linecap='round' stroke-linejoin='round'/%3E%3C/g%3E%3C/svg%3E`;
}
