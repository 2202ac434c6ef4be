// The board: a grid that is drawn, and edited by pointer, keys and the palette. Knows no model.

import { conflicts, MAZE, SUDOKU } from "./rules.js";

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const MAZE_KEYS = {
  "#": MAZE.wall,
  ".": MAZE.open,
  Delete: MAZE.open,
  Backspace: MAZE.open,
  s: MAZE.start,
  g: MAZE.goal,
};
const MAZE_NAMES = { 1: "wall", 2: "open", 3: "start", 4: "goal", 5: "path" };

export class Board {
  #cells = []; // elements
  #current = 0; // the cell with the focus
  #brush = null; // token id that a pointer paints in a maze

  /** `onEdit(cell, id)` is called for every cell that a person sets. */
  constructor(root, palette, onEdit) {
    Object.assign(this, { root, palette, onEdit });
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("focusin", (event) => this.#focus(this.#cells.indexOf(event.target)));
    root.addEventListener("pointerdown", (event) => this.#pointer(event, true));
    root.addEventListener("pointermove", (event) => {
      if (event.buttons && this.isMaze) this.#pointer(event, false);
    });
  }

  /** Another task: `side` cells each way, `signs` the character of each token id. */
  setTask({ side, signs, isMaze }) {
    Object.assign(this, { side, signs, isMaze });
    this.#current = isMaze ? side + 1 : 0;
    this.#brush = isMaze ? MAZE.wall : null;
    this.root.className = isMaze ? "maze" : "sudoku";
    this.root.style.setProperty("--side", side);
    this.root.style.gridTemplate = `repeat(${side}, minmax(0, 1fr)) / repeat(${side}, minmax(0, 1fr))`;
    this.root.setAttribute("aria-label", `${isMaze ? "Maze" : "Sudoku"}, ${side} by ${side}`);
    const rows = Array.from({ length: side }, () => element("div", { role: "row" }));
    this.#cells = Array.from({ length: side * side }, (_, cell) => {
      const made = element("div", { role: "gridcell" });
      rows[Math.floor(cell / side)].append(made);
      return made;
    });
    this.root.replaceChildren(...rows);
    this.#makePalette();
  }

  /** Show a puzzle and, over it, an answer of the model; cells that differ from `before` flash. */
  draw(puzzle, answer, before) {
    const shown = Int32Array.from(puzzle, (id, cell) => (answer && this.#isFree(id) ? answer[cell] : id));
    const wrong = this.isMaze ? new Set() : conflicts(shown, this.side);
    this.#cells.forEach((cell, i) => {
      const given = !this.#isFree(puzzle[i]);
      const classes = this.isMaze ? this.#mazeClasses(shown[i]) : this.#sudokuClasses(i, given, wrong);
      if (i === this.#current) classes.push("current");
      if (answer && before && !given && before[i] !== answer[i]) classes.push("changed");
      if (cell.classList.contains("changed")) void cell.offsetWidth; // its animation begins anew
      cell.className = "";
      cell.className = classes.join(" ");
      cell.textContent = this.#sign(shown[i]);
      cell.tabIndex = i === this.#current ? 0 : -1;
      const place = `Row ${Math.floor(i / this.side) + 1}, column ${(i % this.side) + 1}`;
      const kind = this.isMaze ? "" : given ? ", given" : answer ? ", answer" : "";
      const conflict = wrong.has(i) ? ", in conflict" : "";
      cell.setAttribute("aria-label", `${place}: ${this.#name(shown[i])}${kind}${conflict}`);
    });
  }

  #isFree(id) {
    return id === (this.isMaze ? MAZE.open : SUDOKU.blank);
  }

  #sign(id) {
    const hidden = this.isMaze ? [MAZE.wall, MAZE.open, MAZE.path] : [SUDOKU.blank];
    return id === 0 || hidden.includes(id) ? "" : this.signs[id];
  }

  #name(id) {
    if (this.isMaze) return MAZE_NAMES[id] ?? "empty";
    return id >= SUDOKU.first ? this.signs[id] : "empty";
  }

  #mazeClasses(id) {
    return { 1: ["wall"], 3: ["end"], 4: ["end"], 5: ["path"] }[id]?.slice() ?? [];
  }

  #sudokuClasses(cell, given, wrong) {
    const [row, column, box] = [Math.floor(cell / this.side), cell % this.side, Math.sqrt(this.side)];
    const inside = (index) => index % box === box - 1 && index < this.side - 1;
    return [
      given ? "given" : "answer",
      ...(inside(column) ? ["right"] : []),
      ...(inside(row) ? ["below"] : []),
      ...(wrong.has(cell) ? ["conflict"] : []),
    ];
  }

  #makePalette() {
    const ids = this.isMaze
      ? [MAZE.wall, MAZE.open, MAZE.start, MAZE.goal]
      : [...this.signs.keys()].filter((id) => id >= SUDOKU.first).concat(SUDOKU.blank);
    this.palette.replaceChildren(
      ...ids.map((id) => {
        const erases = !this.isMaze && this.#isFree(id);
        const name = this.#name(id).replace(/^./, (letter) => letter.toUpperCase());
        const label = erases ? "Empty the cell" : name;
        const button = element("button", { type: "button", "aria-label": label });
        button.textContent = erases ? "⌫" : name;
        if (this.isMaze) button.setAttribute("aria-pressed", String(id === this.#brush));
        button.addEventListener("click", () => this.#choose(id, button));
        return button;
      }),
    );
  }

  #choose(id, button) {
    if (!this.isMaze) return this.onEdit(this.#current, id);
    this.#brush = id;
    for (const other of this.palette.children) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    return undefined;
  }

  #pointer(event, first) {
    const under = document.elementFromPoint(event.clientX, event.clientY);
    const cell = this.#cells.indexOf(under);
    if (cell < 0 || (!first && cell === this.#current)) return;
    event.preventDefault();
    this.#cells[cell].focus({ preventScroll: true });
    this.#focus(cell);
    if (this.isMaze) this.onEdit(cell, this.#brush);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = ARROWS[event.key];
    const id = this.isMaze ? this.#mazeKey(event.key) : this.#sudokuKey(event.key);
    if (!move && id === undefined) return;
    event.preventDefault();
    if (move) {
      const row = Math.floor(this.#current / this.side) + move[0];
      const column = (this.#current % this.side) + move[1];
      const inside = row >= 0 && row < this.side && column >= 0 && column < this.side;
      if (inside) this.#cells[row * this.side + column].focus();
    } else this.onEdit(this.#current, id);
  }

  #mazeKey(key) {
    return key === " " ? this.#brush : MAZE_KEYS[key.length === 1 ? key.toLowerCase() : key];
  }

  #sudokuKey(key) {
    if (["0", ".", " ", "Backspace", "Delete"].includes(key)) return SUDOKU.blank;
    const id = this.signs.indexOf(key);
    return id >= SUDOKU.first ? id : undefined;
  }

  #focus(cell) {
    if (cell < 0 || cell === this.#current) return;
    const old = this.#cells[this.#current];
    old.classList.remove("current");
    old.tabIndex = -1;
    this.#current = cell;
    this.#cells[cell].classList.add("current");
    this.#cells[cell].tabIndex = 0;
  }
}

function element(name, attributes) {
  const made = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}
