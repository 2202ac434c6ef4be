// The rules of the puzzles, for what the page says of a board. Cells are token ids, 0 to n x n - 1.

export const SUDOKU = { blank: 1, first: 2 };
export const MAZE = { wall: 1, open: 2, start: 3, goal: 4, path: 5 };

/** The cells of a Sudoku that have the same digit as another of their row, column or box. */
export function conflicts(cells, side) {
  const box = Math.sqrt(side);
  const groups = new Map();
  cells.forEach((id, cell) => {
    if (id < SUDOKU.first) return;
    const [row, column] = [Math.floor(cell / side), cell % side];
    const square = Math.floor(row / box) * box + Math.floor(column / box);
    for (const group of [`row ${row} ${id}`, `column ${column} ${id}`, `box ${square} ${id}`]) {
      groups.set(group, [...(groups.get(group) ?? []), cell]);
    }
  });
  return new Set([...groups.values()].filter((group) => group.length > 1).flat());
}

/** What is wrong with an answer to a Sudoku; empty if it is right. */
export function sudokuProblem(puzzle, answer, side) {
  const changed = puzzle.filter((id, cell) => id >= SUDOKU.first && id !== answer[cell]).length;
  if (changed) return `${changed} given ${changed === 1 ? "cell was" : "cells were"} changed`;
  const blank = answer.filter((id) => id < SUDOKU.first).length;
  if (blank) return `${blank} ${blank === 1 ? "cell is" : "cells are"} empty`;
  const wrong = conflicts(answer, side).size;
  return wrong ? `${wrong} cells are in conflict` : "";
}

/** Why a maze cannot be solved; empty if it can. */
export function mazeProblem(puzzle, side) {
  const count = (id) => puzzle.filter((cell) => cell === id).length;
  if (count(MAZE.start) !== 1 || count(MAZE.goal) !== 1) return "A maze needs one start and one goal.";
  return shortest(puzzle, side) ? "" : "No path connects the start with the goal.";
}

/** What is wrong with a path; empty if it is a shortest one. */
export function pathProblem(puzzle, answer, side) {
  const allowed = answer.map((id, cell) =>
    id === MAZE.path && puzzle[cell] === MAZE.open ? MAZE.open : MAZE.wall,
  );
  puzzle.forEach((id, cell) => {
    if (id === MAZE.start || id === MAZE.goal) allowed[cell] = id;
  });
  const taken = answer.filter((id, cell) => id === MAZE.path && puzzle[cell] !== MAZE.open).length;
  if (taken) return "the path goes through a wall";
  const [own, best] = [shortest(allowed, side), shortest(puzzle, side)];
  if (!own) return "the path does not reach the goal";
  const cells = answer.filter((id) => id === MAZE.path).length;
  return cells === best - 1 ? "" : "the path is not a shortest one";
}

/** The moves of a shortest path from start to goal; 0 if there is none. */
function shortest(cells, side) {
  const moves = new Map([[cells.indexOf(MAZE.start), 0]]);
  for (const [cell, count] of moves) {
    if (cells[cell] === MAZE.goal) return count;
    const column = cell % side;
    const near = [cell - side, cell + side, column ? cell - 1 : -1, column < side - 1 ? cell + 1 : -1];
    for (const next of near) {
      if (cells[next] > MAZE.wall && !moves.has(next)) moves.set(next, count + 1);
    }
  }
  return 0;
}
