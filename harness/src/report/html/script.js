'use strict';
// Sorting: a button in each heading; by exact value where a cell has one, else by text.
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
  heads.forEach((head, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const down = head.getAttribute('aria-sort') === 'ascending';
      for (const other of heads) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => {
        const cell = row.cells[column];
        const number = cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
        return { row, number, text: cell.textContent.trim() };
      });
      rows.sort((a, b) => {
        // What has no value comes last, whichever way.
        const none = isNaN(a.number) - isNaN(b.number);
        if (none) return none;
        const order = isNaN(a.number) ? a.text.localeCompare(b.text, 'en', { numeric: true }) : a.number - b.number;
        return down ? -order : order;
      });
      body.append(...rows.map((each) => each.row));
    });
  });
}
// Zooming: all panels over time share one window, as shares of the measure phase.
const panels = document.querySelector('.panels');
const bar = document.querySelector('.zoom');
if (panels && bar) {
  const seconds = Number(panels.dataset.seconds);
  const plots = [...panels.querySelectorAll('svg.plot')];
  const ticks = [...panels.querySelectorAll('text.x')];
  let [from, to] = [0, 1];
  const show = (a, b) => {
    const width = Math.min(1, Math.max(0.02, b - a));
    from = Math.min(1 - width, Math.max(0, a));
    to = from + width;
    for (const plot of plots) {
      const height = plot.viewBox.baseVal.height;
      plot.setAttribute('viewBox', `${from * 1000} 0 ${width * 1000} ${height}`);
    }
    for (const tick of ticks) {
      const at = (from + Number(tick.dataset.share) * width) * seconds;
      tick.textContent = String(Number(at.toPrecision(3)));
    }
  };
  bar.hidden = false;
  bar.addEventListener('click', (event) => {
    const width = to - from;
    const middle = (from + to) / 2;
    switch (event.target.dataset.zoom) {
      case 'in': show(middle - width / 4, middle + width / 4); break;
      case 'out': show(middle - width, middle + width); break;
      case 'left': show(from - width / 2, to - width / 2); break;
      case 'right': show(from + width / 2, to + width / 2); break;
      case 'all': show(0, 1); break;
    }
  });
  for (const plot of plots) {
    const chart = plot.ownerSVGElement;
    const share = (event) => {
      const box = chart.getBoundingClientRect();
      const unit = chart.viewBox.baseVal.width / box.width;
      const x = ((event.clientX - box.left) * unit - plot.x.baseVal.value) / plot.width.baseVal.value;
      return from + Math.min(1, Math.max(0, x)) * (to - from);
    };
    let start = null;
    chart.addEventListener('pointerdown', (event) => {
      if (event.pointerType === 'touch') return;
      start = share(event);
      chart.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    chart.addEventListener('pointerup', (event) => {
      if (start === null) return;
      const end = share(event);
      if (Math.abs(end - start) > 0.01 * (to - from)) show(Math.min(start, end), Math.max(start, end));
      start = null;
    });
    chart.addEventListener('pointercancel', () => { start = null; });
    chart.addEventListener('dblclick', () => show(0, 1));
  }
}
