// Quantities as people read them.

export const count = (number, noun) =>
  `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Bytes, in powers of 1000 as filters take them. */
export function size(bytes) {
  for (const [unit, power] of [
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ]) {
    if (bytes >= power) return `${(bytes / power).toPrecision(3)} ${unit}`;
  }
  return `${bytes} bytes`;
}

/** Seconds as M:SS or H:MM:SS. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}
