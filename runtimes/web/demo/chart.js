// The chart of q_halt: a dot for each step, and the threshold.

const [LEFT, RIGHT, TOP, BOTTOM] = [30, 312, 10, 98];

/** Draw the scores of the steps that were made, of which step `shown` (from 1) is on the board. */
export function drawChart(svg, scores, threshold, maxSteps, shown) {
  const all = [...scores, threshold, 0];
  const [low, high] = [Math.min(...all) - 1, Math.max(...all) + 1];
  const x = (step) => LEFT + ((RIGHT - LEFT) * (step - 0.5)) / maxSteps;
  const y = (score) => BOTTOM - ((BOTTOM - TOP) * (score - low)) / (high - low);
  const parts = [
    line("axis", LEFT, y(0), RIGHT, y(0)),
    label(LEFT - 6, y(0) + 3.5, "0", "end"),
    line("threshold", LEFT, y(threshold), RIGHT, y(threshold)),
  ];
  if (Math.abs(y(threshold) - y(0)) > 11) {
    parts.push(label(LEFT - 6, y(threshold) + 3.5, String(Math.round(threshold * 10) / 10), "end"));
  }
  for (let step = 1; step <= maxSteps; step++) parts.push(label(x(step), 114, String(step), "middle"));
  scores.forEach((score, i) => {
    const kind = `dot${score > threshold ? " above" : ""}${i + 1 === shown ? " shown" : ""}`;
    parts.push(line("stem", x(i + 1), y(0), x(i + 1), y(score)));
    parts.push(node("circle", { class: kind, cx: x(i + 1), cy: y(score), r: 5 }));
  });
  svg.replaceChildren(...parts);
  const words = scores.map((score, i) => `step ${i + 1}: ${score.toFixed(1)}`).join(", ");
  svg.setAttribute("aria-label", `q_halt; the threshold is ${threshold}. ${words || "No step yet"}.`);
}

function line(kind, x1, y1, x2, y2) {
  return node("line", { class: kind, x1, y1, x2, y2 });
}

function label(x, y, text, anchor) {
  const element = node("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

function node(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  return element;
}
