// @ts-check
// A fake server: a log in memory, and the streams that it serves to fake connections. Contains no
// test.

/** @typedef {import("./world.mjs").FakeEventSource} Source */

export class FakeLog {
  /** @param {string} epoch */
  constructor(epoch) {
    this.epoch = epoch;
    this.first = 1;
    /** @type {{sequence: number, traceId: string | null}[]} */
    this.events = [];
    /** The position of each connection. @type {Map<Source, number>} */
    this.places = new Map();
  }

  /** @param {string | null} traceId null for an event of every stream @returns {string} its id */
  append(traceId) {
    const sequence = this.first + this.events.length;
    this.events.push({ sequence, traceId });
    return this.id(sequence);
  }

  /** @param {number} sequence */
  id(sequence) {
    return `${this.epoch}-${sequence}`;
  }

  head() {
    return this.id(this.first + this.events.length - 1);
  }

  /** @param {number} count events that retention removes */
  evict(count) {
    this.first += this.events.splice(0, count).length;
  }

  /**
   * Sends at most `count` events to a connection, after its greeting.
   * @param {Source} source
   * @param {number} count
   */
  serve(source, count) {
    if (source.readyState === 2) return;
    const query = new URL(source.url, "http://x").searchParams;
    const wanted = query.getAll("traceId");
    if (!this.places.has(source)) this.greet(source, source.lastEventId || (query.get("lastEventId") ?? ""), wanted);
    let place = Number(this.places.get(source));
    for (const event of this.events) {
      if (count === 0) break;
      if (event.sequence <= place) continue;
      place = event.sequence;
      if (event.traceId !== null && !wanted.includes(event.traceId)) continue;
      count -= 1;
      const type = event.traceId === null ? "process" : "started";
      this.places.set(source, place);
      source.send(type, { type, ...(event.traceId === null ? {} : { traceId: event.traceId }), name: this.id(place) }, this.id(place));
    }
    this.places.set(source, place);
  }

  /** @param {Source} source @param {string} from @param {string[]} wanted */
  greet(source, from, wanted) {
    source.open();
    source.send("hello", { type: "hello", epoch: this.epoch, pingSeconds: 15 });
    const [epoch, sequence] = from.split("-");
    let place = from === "" ? 0 : Number(sequence);
    if (from !== "" && epoch !== this.epoch) {
      source.send("gap", { type: "gap", reason: "epoch", lost: null });
      place = 0;
    }
    if (place + 1 < this.first) {
      if (from !== "" && place > 0) source.send("gap", { type: "gap", reason: "evicted", from: this.id(place + 1), to: this.id(this.first - 1), lost: this.first - 1 - place });
      place = this.first - 1;
    }
    this.places.set(source, place);
    void wanted;
  }

  /** Breaks a connection. The browser then reconnects with its last id. @param {Source} source */
  cut(source) {
    this.places.delete(source);
    source.breakOff();
  }
}
