# Draws chart.tsv of report.pl: gnuplot -e "terminal = 'svg'; folder = '...'" chart.gp
set datafile separator "\t"
set output folder . '/chart.' . (terminal eq 'svg' ? 'svg' : 'png')
set terminal @terminal size 900,480 font 'DejaVu Sans,11' background 'white'

title = system(sprintf("cat '%s/chart.title'", folder))
set title title noenhanced font ',9'
set xlabel 'million rows a second (median, slowest to fastest round)'
set xrange [0:*]
set xtics nomirror
set ytics scale 0
set grid xtics lc rgb '#dddddd'
set border 1
set key off
set rmargin 10

file = folder . '/chart.tsv'
stats file using 1 nooutput
set yrange [STATS_min - 1:1]
plot file using ($3 / 2):1:($3 / 2):(0.36):6:ytic(2) with boxxyerror fill solid noborder lc rgb variable, \
     file using 3:($3 > 0 ? $1 : NaN):4:5 with xerrorbars pt -1 lc rgb '#404040', \
     file using 5:1:7 with labels left offset 1,0
