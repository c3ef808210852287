/** A QR code as a picture that needs no markup. */

import { encode } from "uqr";

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} text @param {string} label for who cannot see it */
export function qr(text, label) {
  const { data, size } = encode(text, { ecc: "M", border: 2 });
  const path = data.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : ""))).join("");
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label, class: "qr" })) {
    svg.setAttribute(name, value);
  }
  const squares = document.createElementNS(SVG, "path");
  squares.setAttribute("d", path);
  svg.append(squares);
  return svg;
}
