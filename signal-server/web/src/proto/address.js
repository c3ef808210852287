/** Addresses that a peer can have; what a candidate says is looked at here before a browser is. */

/**
 * An IPv4 or IPv6 address that is not unspecified, multicast or broadcast, and has no zone.
 *
 * @param {string} host
 */
export function isPeerAddress(host) {
  const four = parseIpv4(host);
  if (four) return isUnicast(four);
  const six = parseIpv6(host);
  if (!six) return false;
  const [high, low] = [six[6], six[7]];
  const isMapped = six.slice(0, 5).every((group) => group === 0) && six[5] === 0xffff;
  if (isMapped) return isUnicast([high >> 8, high & 255, low >> 8, low & 255]);
  return six.some((group) => group !== 0) && six[0] >> 8 !== 0xff;
}

/** @param {number[]} four */
const isUnicast = (four) =>
  four.some((part) => part !== 0) && !(four[0] >= 224 && four[0] < 240) && !four.every((part) => part === 255);

/** @param {string} host */
export function parseIpv4(host) {
  const parts = host.split(".");
  const isPlain = (/** @type {string} */ part) => /^(?:0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256;
  return parts.length === 4 && parts.every(isPlain) ? parts.map(Number) : undefined;
}

/** The eight groups. @param {string} host */
export function parseIpv6(host) {
  const halves = host.split("::");
  if (halves.length > 2) return undefined;
  const groups = halves.map((half, index) => groupsOf(half, index === halves.length - 1));
  if (groups.includes(undefined)) return undefined;
  const [front, back] = /** @type {number[][]} */ (groups);
  if (halves.length === 1) return front.length === 8 ? front : undefined;
  const gap = 8 - front.length - back.length;
  return gap > 0 ? [...front, ...Array(gap).fill(0), ...back] : undefined;
}

/** @param {string} half @param {boolean} isLast an IPv4 address may end it */
function groupsOf(half, isLast) {
  if (half === "") return [];
  const parts = half.split(":");
  const four = isLast ? parseIpv4(parts[parts.length - 1]) : undefined;
  if (four) parts.splice(-1, 1, (four[0] * 256 + four[1]).toString(16), (four[2] * 256 + four[3]).toString(16));
  return parts.every((part) => /^[0-9A-Fa-f]{1,4}$/.test(part))
    ? parts.map((part) => parseInt(part, 16))
    : undefined;
}
