/** Numbers as people read them. */

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** @param {number} bytes */
export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  const digits = unit === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** How fast something goes, over the last seconds. */
export class Rate {
  /** Long enough to be calm, short enough to notice. */
  static WINDOW = 4000;

  constructor() {
    /** @type {{ time: number, bytes: number }[]} */
    this.marks = [];
  }

  /** @param {number} bytes in all @param {number} now in milliseconds */
  mark(bytes, now) {
    const last = this.marks.at(-1);
    if (last && now - last.time < 100) return;
    this.marks.push({ time: now, bytes });
    while (this.marks.length > 2 && now - this.marks[0].time > Rate.WINDOW) this.marks.shift();
  }

  /** In bytes a second; `undefined` while too little is known. */
  get() {
    const [first, last] = [this.marks[0], this.marks.at(-1)];
    if (!first || !last || last.time - first.time < 500) return undefined;
    return ((last.bytes - first.bytes) * 1000) / (last.time - first.time);
  }
}
